import type { OutputStream } from '../../../core/context.ts'
import { type MhvError, mhvError, toMhvError } from '../../../core/errors.ts'
import type { SshConnection } from '../connection.ts'
import type { PoolCall } from '../pool.ts'
import { plainText } from '../remote-text.ts'
import { outputLost } from '../run-command.ts'
import { createStartScanner, newMarker } from '../start-report.ts'
import { createSudoDialogue, type SudoDialogue } from '../sudo-dialogue.ts'
import type { DetachedJob } from './job.ts'
import { blocksFrom, type DetachedStatus, newBytes, parseStatus } from './poll-answer.ts'
import { runScript } from './run-script.ts'
import { mayPass, unreachable } from './start-detached.ts'
import { BLOCK_BYTES, pollScript } from './supervisor-script.ts'

/** Milliseconds between two looks: short after output has come, longer while there is none. */
const SHORTEST_PAUSE_MS = 50
const LONGEST_PAUSE_MS = 1_000
/** Milliseconds between two tries to reach a host that cannot be reached. */
const LONGEST_TRY_MS = 5_000
/** Blocks of each stream in one answer: 4 MiB. */
const MOST_BLOCKS = 1024

/** Reads a detached command's output from the host, from its first byte on. */
export interface Follower {
  /** Looks once and hands on what is new. Throws what `runScript` throws, and MHV_SSH_DETACH_LOST. */
  look(call: PoolCall): Promise<DetachedStatus>
  /** Looks until the command is over and every byte is here; waits for a host that cannot be reached. */
  toEnd(): Promise<DetachedStatus>
  /** Whether everything is here that the host had when this was looked at. */
  isComplete(status: DetachedStatus): boolean
  /** What the command's shell said at its start; `end` gives what is held back. */
  readonly start: SudoDialogue
  endStart(): Promise<void>
  last(): { readonly status: DetachedStatus | undefined; readonly connection: SshConnection | undefined }
}

/**
 * Standard output and standard error are two files on the host: each keeps its order, and what of both comes with one
 * look is handed on stdout first. A look that did not come whole is made again from the same offsets, so no byte is lost
 * or comes twice. While the sink is slow nothing is asked for.
 */
export function createFollower(job: DetachedJob): Follower {
  const { ctx } = job
  const offsets = { stdout: 0, stderr: 0 }
  const start = startOf(job)
  let status: DetachedStatus | undefined
  let connection: SshConnection | undefined

  async function take(stream: OutputStream, blocks: Buffer, size: number): Promise<void> {
    const offset = offsets[stream]
    const bytes = newBytes(blocks, blocksFrom(offset, MOST_BLOCKS), offset, size)
    if (bytes === undefined) throw lost(job, `its ${stream} there is shorter than it was`, status)
    const own = stream === 'stderr' ? start.push(bytes) : bytes
    offsets[stream] += bytes.length
    if (own.length > 0) await write(stream, own)
  }

  async function write(stream: OutputStream, bytes: Buffer): Promise<void> {
    try {
      await ctx.output.write(stream, bytes)
    } catch (error) {
      throw outputLost(error)
    }
  }

  async function look(call: PoolCall): Promise<DetachedStatus> {
    const answer = newMarker()
    const script = pollScript({
      answer,
      runId: ctx.run_id,
      directory: job.note.directory ?? undefined,
      marker: job.note.marker,
      stdout: blocksFrom(offsets.stdout, MOST_BLOCKS),
      stderr: blocksFrom(offsets.stderr, MOST_BLOCKS),
    })
    const said = await runScript(ctx.connection, call, answer, () => script)
    const now = parseStatus(said.words)
    if (now === undefined) throw lost(job, `its files there are damaged: ${plainText(said.words.join(' '))}`, status)
    connection = said.connection
    status = now
    if (now.state === 'none') return now
    await take('stdout', said.stdout, now.stdout_bytes)
    await take('stderr', said.stderr, now.stderr_bytes)
    return now
  }

  const isComplete = (now: DetachedStatus) => offsets.stdout >= now.stdout_bytes && offsets.stderr >= now.stderr_bytes

  async function lookOrWait(): Promise<DetachedStatus> {
    for (let pause = SHORTEST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_TRY_MS)) {
      try {
        return await look(job.call)
      } catch (thrown) {
        if (ctx.signal.aborted) throw ctx.signal.reason
        const error = toMhvError(thrown)
        if (error.code === 'MHV_SSH_DETACH_LOST' || error.code === 'MHV_INTERNAL') throw error
        if (!mayPass(error)) throw unreachable(job, error)
        ctx.log.info('a detached command cannot be looked at now', { run_id: ctx.run_id, error: error.code })
      }
      await ctx.clock.sleep(pause, ctx.signal)
    }
  }

  return {
    look,
    isComplete,
    start,
    last: () => ({ status, connection }),
    async endStart() {
      const rest = start.end()
      if (rest.length > 0) await write('stderr', rest)
    },
    async toEnd() {
      let pause = SHORTEST_PAUSE_MS
      for (;;) {
        const before = offsets.stdout + offsets.stderr
        const now = await lookOrWait()
        if (isComplete(now)) {
          if (now.state === 'exit') return now
          const why = whyLost(now)
          if (why !== undefined) throw lost(job, why, now)
        }
        const quiet = offsets.stdout + offsets.stderr === before
        pause = quiet ? Math.min(pause * 1.5, LONGEST_PAUSE_MS) : SHORTEST_PAUSE_MS
        const full = offsets.stdout + offsets.stderr - before >= (MOST_BLOCKS - 1) * BLOCK_BYTES
        if (!full) await ctx.clock.sleep(pause, ctx.signal)
      }
    },
  }
}

function startOf({ input, note: { marker } }: DetachedJob): SudoDialogue {
  if (input.sudo !== undefined) {
    // Without a password nothing is ever written.
    const channel = { writable: false, write: () => false, end: () => undefined } as never
    const none = undefined
    return createSudoDialogue({ channel, marker, prompt: none, password: none, preamble: none, stdin: none })
  }
  const scanner = createStartScanner(marker)
  const { push, end, report } = scanner
  return { push, end, report, session: () => undefined, failure: () => undefined }
}

function whyLost({ state, rebooted, supervisorGone }: DetachedStatus): string | undefined {
  if (state === 'none') return 'its files are gone from there'
  if (rebooted) return 'the host was started anew meanwhile'
  return supervisorGone ? 'the shell that kept its exit code was ended there' : undefined
}

function lost({ call, note }: DetachedJob, why: string, status: DetachedStatus | undefined): MhvError {
  const ended = status?.exit_code ?? null
  const code = ended === null ? 'how the command ended is unknown' : `the command ended with exit code ${ended}`
  return mhvError('MHV_SSH_DETACH_LOST', `${call.target.host}: ${why}; ${code}`, {
    details: {
      directory: note.directory,
      ...(status?.session === undefined ? {} : { pid: status.session }),
      ...(ended === null ? {} : { exit_code: ended }),
      rebooted: status?.rebooted ?? false,
    },
  })
}
