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

/** Reads the words of `pollScript`; undefined where they are none. */
export function parseStatus(words: readonly string[]): DetachedStatus | undefined {
  if (words[0] === 'none') return NOWHERE
  const [state = '', stdout, stderr, stdoutCut, stderrCut, session, boot, alive] = words
  const [, kind, code] = state.match(/^(open|code|exit)(?:\.([0-9]+))?$/) ?? []
  const sizes = [stdout, stderr].map(Number)
  if (kind === undefined || words.length !== 8 || !sizes.every(Number.isSafeInteger)) return undefined
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
