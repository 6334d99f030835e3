import type { CollectedOutput, OutputSink, OutputStream } from '../../../core/context.ts'
import { mhvError } from '../../../core/errors.ts'
import { newId } from '../../../core/ids.ts'
import type { RemoteExec, RemoteExecRequest, RemoteExecResult } from '../../../core/ports.ts'
import type { SshPool } from '../pool.ts'
import { type CommandInput, runCommand, type SshContext } from '../run-command.ts'
import { targetContext } from './target-context.ts'

/** Runs commands for other workers: as `ssh.execute` does, but with bytes, and the output is kept by the caller alone. */
export function createRemoteExec(pool: SshPool): RemoteExec {
  return {
    async exec(request: RemoteExecRequest, signal: AbortSignal): Promise<RemoteExecResult> {
      const { clock } = pool
      const ending = new AbortController()
      const late = () => ending.abort(mhvError('MHV_RUN_TIMEOUT', 'the deadline of the command has passed'))
      const cancelTimer = clock.after(Math.max(0, request.deadline - clock.now()), late)
      const output = keptOutput(request.maxBytes)
      try {
        const { target, settings } = await targetContext(pool, request.target)
        const { command, stdin, env, cwd } = request
        const input: CommandInput = {
          command,
          ...(stdin === undefined ? {} : { stdin }),
          ...(env === undefined ? {} : { env: { ...env } }),
          ...(cwd === undefined ? {} : { cwd }),
        }
        const { secrets, log, state, need } = pool.context
        const ctx: SshContext = {
          run_id: newId(clock),
          attempt: 1,
          principal: { id: 'service:ssh', kind: 'service' },
          effect: 'write',
          target,
          connection: pool,
          settings,
          signal: AbortSignal.any([signal, ending.signal]),
          deadline: request.deadline,
          clock,
          log,
          secrets,
          state,
          output: output.sink,
          progress: async () => undefined,
          // A command's bytes are no transfer.
          bandwidth: { limit: 0, take: async () => undefined },
          need,
        }
        const { exit_code, signal: endedBy } = await runCommand(ctx, input)
        return { exit_code, signal: endedBy, ...output.kept() }
      } finally {
        cancelTimer()
      }
    },
  }
}

/** The first bytes of each stream; the rest is counted. */
function keptOutput(maxBytes: number): {
  readonly sink: OutputSink
  kept(): Pick<RemoteExecResult, 'stdout' | 'stderr' | 'dropped_bytes'>
} {
  const streams = { stdout: { pieces: [] as Uint8Array[], bytes: 0 }, stderr: { pieces: [] as Uint8Array[], bytes: 0 } }
  let dropped_bytes = 0

  async function write(stream: OutputStream, bytes: Uint8Array): Promise<void> {
    const kept = streams[stream]
    const fitting = bytes.subarray(0, Math.max(0, maxBytes - kept.bytes))
    if (fitting.length > 0) kept.pieces.push(Uint8Array.from(fitting))
    kept.bytes += fitting.length
    dropped_bytes += bytes.length - fitting.length
  }

  const bytesOf = (stream: OutputStream) => Buffer.concat(streams[stream].pieces)
  return {
    sink: {
      write,
      async collect(stream): Promise<CollectedOutput> {
        const text = bytesOf(stream).toString('utf8')
        return { text, bytes: streams[stream].bytes, dropped_bytes, utf8: true }
      },
    },
    // Buffers of a shared pool would not be cloned alone.
    kept: () => ({
      stdout: Uint8Array.from(bytesOf('stdout')),
      stderr: Uint8Array.from(bytesOf('stderr')),
      dropped_bytes,
    }),
  }
}
