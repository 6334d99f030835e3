import type { ServerContext } from '@modelcontextprotocol/server'
import type { Clock } from '../../core/clock.ts'
import type { Progress } from '../../core/context.ts'
import { durationText } from '../outcome.ts'
import { plainLine } from '../plain-text.ts'

/** How often a call that waits says so, in milliseconds: clients that see nothing give up. */
const HEARTBEAT_MS = 5_000

/** Least difference between two values: the protocol wants them to rise with every message. */
const STEP = 0.001

export interface ProgressReports {
  /** Undefined where the client wants none. */
  readonly report: ((progress: Progress) => void) | undefined
  stop(): void
}

/**
 * Sends what an operation tells of its progress, and a heartbeat while it tells nothing, to a client that gave a token.
 * A message right before the answer may not arrive, so nothing is in them that anybody needs.
 */
export function progressReports(mcpReq: ServerContext['mcpReq'], clock: Clock): ProgressReports {
  const progressToken = mcpReq._meta?.progressToken
  if (progressToken === undefined) return { report: undefined, stop: () => undefined }
  const started = clock.monotonic()
  let last = 0
  let latest: Progress | undefined
  let cancelBeat = () => {}

  function send(progress: Progress): void {
    last = progress.progress > last ? progress.progress : last + STEP
    const { total, message } = progress
    const params = {
      progressToken,
      progress: last,
      ...(total === undefined ? {} : { total: Math.max(total, last) }),
      message,
    }
    // The client may be gone by now; its request is cancelled then, and that is enough.
    mcpReq.notify({ method: 'notifications/progress', params }).catch(() => undefined)
    scheduleBeat()
  }

  function scheduleBeat(): void {
    cancelBeat()
    cancelBeat = clock.after(HEARTBEAT_MS, () => {
      const since = `running for ${durationText((clock.monotonic() - started) / 1000)}`
      const message = latest?.message === undefined ? since : `${latest.message}, ${since}`
      send({ progress: latest?.progress ?? 0, total: latest?.total, message })
    })
  }

  scheduleBeat()
  return {
    report(progress) {
      latest = progress.message === undefined ? progress : { ...progress, message: plainLine(progress.message) }
      send(latest)
    },
    stop: () => cancelBeat(),
  }
}
