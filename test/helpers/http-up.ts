/**
 * `mahavishnu up` as it is shipped, but with the probe as its worker, on a process of its own. Run as a program it is
 * the command line: `http-up.ts COMMAND …`.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync } from 'node:fs'
import { createConfigCalls } from '../../src/app/config-calls.ts'
import { createDemos } from '../../src/app/mqtt-demo.ts'
import { createInstances } from '../../src/app.ts'
import { runCli } from '../../src/surfaces/cli/run.ts'
import { probeComposition } from './probe-composition.ts'

export interface UpProcess {
  readonly child: ChildProcessWithoutNullStreams
  readonly url: string
  readonly socket: string
  /** From the start of the process until it answers, in milliseconds. */
  readonly readyMs: number
  stderr(): string
  /** Resolves when the process has ended, with its exit code or signal. */
  ended(): Promise<number | string | null>
}

/** Starts it and waits until it listens. */
export async function startUp(folder: string, ...args: string[]): Promise<UpProcess> {
  return startUpWith({}, folder, ...args)
}

export interface UpOptions {
  /** `PROBE_LEDGER` names a file that gets a line with the run's id at every act. */
  readonly env?: Readonly<Record<string, string>>
  /** Most open files of the process. */
  readonly openFiles?: number
}

/** The same, in surroundings of its own. */
export async function startUpWith(
  { env = {}, openFiles }: UpOptions,
  folder: string,
  ...args: string[]
): Promise<UpProcess> {
  const began = performance.now()
  const program = [import.meta.filename, 'up', '--folder', folder, '--set', 'http.port=0', ...args]
  const limited = ['/bin/sh', '-c', 'ulimit -n "$0" && exec "$@"', String(openFiles)]
  const [first = '', ...rest] = [...(openFiles === undefined ? [] : limited), process.execPath, ...program]
  const child = spawn(first, rest, { stdio: 'pipe', env: { ...process.env, ...env } })
  const closed = once(child, 'close')
  let stderr = ''
  const said = Promise.withResolvers<void>()
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
    if (/the token is in .*\n/.test(stderr)) said.resolve()
  })
  child.stdout.resume()
  await Promise.race([said.promise, closed.then(() => Promise.reject(new Error(`it ended: ${stderr}`)))])
  const [, url = '', socket = ''] = /^listening on (\S+) and (.+)$/m.exec(stderr) ?? []
  return {
    child,
    url,
    socket,
    readyMs: performance.now() - began,
    stderr: () => stderr,
    async ended() {
      const [code, signal] = await closed
      return code ?? signal
    },
  }
}

if (import.meta.main) {
  // What was done on the far side, counted outside of the process: it outlives any end of it.
  const ledger = process.env.PROBE_LEDGER
  const onAct = (run_id: string) => appendFileSync(String(ledger), `${run_id}\n`)
  const composition = probeComposition(ledger === undefined ? {} : { onAct })
  const app = {
    registry: composition.registry,
    instances: createInstances(composition),
    doctor: async () => [],
    config: createConfigCalls(composition),
    demos: createDemos(composition),
  }
  process.exitCode = await runCli(process.argv.slice(2), { version: '9.8.7', app: async () => app })
}
