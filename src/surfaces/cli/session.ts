import { EXIT } from '../../core/error-table.ts'
import { type MhvError, mhvError } from '../../core/errors.ts'
import type { Instance } from '../../runtime/instance.ts'
import type { CliApp, GlobalOptions } from './commands.ts'
import type { CliIo } from './io.ts'
import type { CliOutput } from './output.ts'

/** What an action works with. */
export interface Session {
  readonly app: CliApp
  readonly io: CliIo
  readonly out: CliOutput
  readonly globals: GlobalOptions
  readonly version: string
  /** The words that start this program, absolute. */
  readonly program: readonly string[]
  /** Aborted by the first Ctrl-C, SIGTERM or SIGHUP; the second one leaves at once. */
  readonly interrupt: AbortSignal
}

/** Opens an instance for one action and closes it again. */
export async function withInstance<T>(
  { app, globals, out }: Session,
  how: 'use' | 'read' | 'look',
  doing: string,
  act: (instance: Instance) => Promise<T>,
): Promise<T> {
  const instance = await app.instances[how]({ ...globals.place, doing, terse: true })
  try {
    return await act(instance)
  } finally {
    await instance.close().catch((error: unknown) => out.complain(`the instance was not closed well: ${String(error)}`))
  }
}

/** Listens for Ctrl-C while a command runs. */
export function listenForInterrupts(io: CliIo, out: CliOutput): { readonly signal: AbortSignal; stop(): void } {
  const controller = new AbortController()
  const stop = io.onInterrupt(() => {
    if (!controller.signal.aborted) {
      controller.abort(mhvError('MHV_RUN_CANCELLED', 'interrupted'))
      return
    }
    out.complain('left without waiting: what was being done may have been applied; see `mahavishnu runs list`')
    io.exit(EXIT.unknown_effect)
  })
  return { signal: controller.signal, stop }
}

/** Interrupted while nothing was asked of anybody yet. */
export function notBegun(): MhvError {
  return mhvError('MHV_RUN_CANCELLED_QUEUED', 'interrupted before it began')
}
