import { BLOCK_BYTES, type BlockRange } from './supervisor-script.ts'

/** How far a detached command is, as its host says. */
export interface DetachedStatus {
  /** `open`: it runs; `code`: it has ended, and its output is held open; `exit`: it is over; `none`: it is not there. */
  readonly state: 'open' | 'code' | 'exit' | 'none'
  /** Null while it runs. */
  readonly exit_code: number | null
  /** Bytes in the host's files. */
  readonly stdout_bytes: number
  readonly stderr_bytes: number
  /** Bytes, at least, that the host did not keep; null where it kept everything. */
  readonly stdout_cut: number | null
  readonly stderr_cut: number | null
  readonly session: number | undefined
  /** The host was started anew since. */
  readonly rebooted: boolean
  /** The supervisor is gone without having told how the command ended. */
  readonly supervisorGone: boolean
}

const NOWHERE: DetachedStatus = {
  state: 'none',
  exit_code: null,
  stdout_bytes: 0,
  stderr_bytes: 0,
  stdout_cut: null,
  stderr_cut: null,
  session: undefined,
  rebooted: false,
  supervisorGone: false,
}

/**
 * The directory of a command as its host names it, where it is one that our script makes; undefined where it is not:
 * it is removed with all that is in it one day, perhaps when the target's name leads to another host.
 */
export function directoryOf(said: string, runId: string): string | undefined {
  const ours = said.startsWith('/') && said.endsWith(`/detached/${runId}`) && said.length <= MAX_DIRECTORY
  return ours && !/[\x00-\x1f\x7f-\x9f]/.test(said) && !said.split('/').includes('..') ? said : undefined
}

/** As PATH_MAX of Linux. */
const MAX_DIRECTORY = 4_096

/** State, two sizes and two cuts below 2^53, session, boot, alive. */
const WORDS =
  /^(open|(code|exit)\.[0-9]{1,3})( [0-9]{1,15}){2}( (no|[0-9]{1,15})){2} [0-9]{1,15} (same|other|unknown) (yes|no|unknown)$/

/** Reads the words of `pollScript`; undefined where they are none. */
export function parseStatus(words: readonly string[]): DetachedStatus | undefined {
  if (words[0] === 'none') return NOWHERE
  const [state = '', stdout, stderr, stdoutCut, stderrCut, session, boot, alive] = words
  // A host may say anything, and what is no number here would stand in the result.
  if (!WORDS.test(words.join(' '))) return undefined
  const [kind, code] = state.split('.')
  const sizes = [stdout, stderr].map(Number)
  const over = kind === 'exit'
  return {
    state: kind as DetachedStatus['state'],
    exit_code: code === undefined ? null : Number(code),
    stdout_bytes: sizes[0] as number,
    stderr_bytes: sizes[1] as number,
    stdout_cut: stdoutCut === 'no' ? null : Number(stdoutCut),
    stderr_cut: stderrCut === 'no' ? null : Number(stderrCut),
    session: Number(session) > 1 ? Number(session) : undefined,
    rebooted: !over && boot === 'other',
    supervisorGone: !over && alive === 'no',
  }
}

/** The blocks in which an offset lies and what follows, as far as one answer goes. */
export function blocksFrom(offset: number, count: number): BlockRange {
  return { from: Math.floor(offset / BLOCK_BYTES), count }
}

/** What of the blocks is new at this offset; undefined where the host gave less than it said it has. */
export function newBytes(blocks: Buffer, range: BlockRange, offset: number, size: number): Buffer | undefined {
  const start = range.from * BLOCK_BYTES
  const promised = Math.min(Math.max(0, size - start), range.count * BLOCK_BYTES)
  // Where nothing is new, no block was sent.
  if (size <= start) return size < offset ? undefined : Buffer.alloc(0)
  return blocks.length < promised || start + blocks.length < offset ? undefined : blocks.subarray(offset - start)
}
