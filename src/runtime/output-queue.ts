import type { OutputStream } from '../core/context.ts'
import { mhvError } from '../core/errors.ts'
import { incompleteEnd } from '../core/utf8.ts'
import type { NewOutputChunk, Store } from '../store/store.ts'

/** Largest piece of output in the journal; kept bytes are written once this many have come together. */
export const CHUNK_BYTES = 64 * 1024
/** Kept bytes are written at the latest this long after they came, so that a slow command can be followed. */
export const FLUSH_MS = 500
/** A writer waits while this many bytes are on their way to the journal. */
const MAX_IN_FLIGHT = 1024 * 1024

/** What a run's output waits in on its way to the journal. */
export interface OutputQueue {
  /** Takes bytes; `gapBytes` counts what was not kept just before them. */
  add(stream: OutputStream, bytes: Uint8Array, gapBytes: number): void
  /** Fulfilled when there is room for more. */
  room(): Promise<void>
  /** Writes everything. Rejects when a piece could not be written; it stays, and the next try begins with it. */
  flush(): Promise<void>
}

export interface OutputQueueOptions {
  readonly run_id: () => string
  readonly store: Pick<Store, 'appendOutput'>
  readonly after: (ms: number, act: () => void) => () => void
  /** False while the run itself is not in the journal (a read, written once with its end): pieces wait. */
  readonly journaled: () => boolean
}

/** Bytes that follow each other in one stream, in a buffer that grows: output byte by byte is no row per byte. */
interface Piece {
  readonly stream: OutputStream
  readonly gapBytes: number
  buffer: Buffer
  length: number
}

const FIRST_ROOM = 256

export function createOutputQueue(options: OutputQueueOptions): OutputQueue {
  let waiting: Piece[] = []
  let waitingBytes = 0
  let inFlight = 0
  /** One write at a time keeps the order, and lets a piece that was not taken go back to the front. */
  let writing: Promise<void> | undefined
  let failure: unknown
  let cancelTimer: (() => void) | undefined

  function addPart(stream: OutputStream, bytes: Uint8Array, gapBytes: number): void {
    const last = waiting.at(-1)
    const fits = last?.stream === stream && gapBytes === 0 && last.length + bytes.length <= CHUNK_BYTES
    if (last !== undefined && fits) append(last, bytes)
    else waiting.push(pieceOf(stream, bytes, gapBytes))
    waitingBytes += bytes.length
  }

  function send(): void {
    cancelTimer?.()
    cancelTimer = undefined
    if (writing !== undefined || waiting.length === 0) return
    if (!options.journaled()) {
      arm()
      return
    }
    const pieces = waiting
    inFlight = waitingBytes
    waiting = []
    waitingBytes = 0
    failure = undefined
    writing = write(pieces).then(settled, (error: unknown) => {
      waiting = [...pieces, ...waiting]
      waitingBytes += inFlight
      settled(error ?? new Error('not written'))
    })
  }

  async function write(pieces: readonly Piece[]): Promise<void> {
    await options.store.appendOutput(options.run_id(), pieces.map(toChunk))
  }

  function settled(error: unknown): void {
    inFlight = 0
    writing = undefined
    failure = error
    // After a failure only in a while, so that a journal in trouble is not hammered.
    if (failure === undefined && waitingBytes >= CHUNK_BYTES) send()
    else arm()
  }

  function arm(): void {
    if (waiting.length > 0) cancelTimer ??= options.after(FLUSH_MS, send)
  }

  return {
    add(stream, bytes, gapBytes) {
      if (bytes.length === 0 && gapBytes === 0) return
      let gap = gapBytes
      let rest = bytes
      do {
        const part = rest.subarray(0, CHUNK_BYTES)
        // Cut between characters, so that each piece can be read as text.
        const whole = part.length < rest.length ? part.subarray(0, part.length - incompleteEnd(part)) : part
        addPart(stream, whole, gap)
        rest = rest.subarray(whole.length)
        gap = 0
      } while (rest.length > 0)
      if (waitingBytes >= CHUNK_BYTES && failure === undefined) send()
      else arm()
    },
    async room() {
      if (inFlight + waitingBytes >= MAX_IN_FLIGHT) await writing
    },
    async flush() {
      while (waiting.length > 0 || writing !== undefined) {
        if (writing === undefined && !options.journaled()) {
          throw mhvError('MHV_JOURNAL_UNAVAILABLE', 'output cannot be journaled before its run')
        }
        send()
        await writing
        if (failure !== undefined) throw failure
      }
      cancelTimer?.()
    },
  }
}

function pieceOf(stream: OutputStream, bytes: Uint8Array, gapBytes: number): Piece {
  const buffer = Buffer.alloc(Math.max(FIRST_ROOM, bytes.length))
  buffer.set(bytes)
  return { stream, gapBytes, buffer, length: bytes.length }
}

function append(piece: Piece, bytes: Uint8Array): void {
  const needed = piece.length + bytes.length
  if (needed > piece.buffer.length) {
    const larger = Buffer.alloc(Math.min(CHUNK_BYTES, Math.max(needed, piece.buffer.length * 2)))
    piece.buffer.copy(larger, 0, 0, piece.length)
    piece.buffer = larger
  }
  piece.buffer.set(bytes, piece.length)
  piece.length = needed
}

function toChunk({ stream, gapBytes, buffer, length }: Piece): NewOutputChunk {
  // A copy of its own: the store may hand it to a thread, and the piece may have to be sent again.
  return { stream, bytes: new Uint8Array(buffer.subarray(0, length)), gap_bytes: gapBytes }
}
