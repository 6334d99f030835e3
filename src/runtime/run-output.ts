import type { CollectedOutput, OutputSink, OutputStream } from '../core/context.ts'
import { createHeadTail, type HeadTail } from '../core/head-tail.ts'
import type { Redactor, StreamRedactor } from '../governance/redaction.ts'
import type { NewOutputChunk, Store } from '../store/store.ts'

/** All in bytes. `head` and `tail` are kept of each stream in the journal, `text` in the result. */
export interface OutputLimits {
  readonly head: number
  readonly tail: number
  readonly text: number
}

/** Kept bytes are written once this many have come together; less only at the end of the stream. */
const FLUSH_BYTES = 64 * 1024
/** Kept bytes are written at the latest this long after they came, so that a slow command can be followed. */
const FLUSH_MS = 500
/** A writer waits while this many bytes are on their way to the journal. */
const MAX_IN_FLIGHT = 1024 * 1024

/** The output of one run. */
export interface RunOutput extends OutputSink {
  /** Ends both streams and hands the last pieces to the journal. Rejects when any piece could not be written. */
  flush(): Promise<void>
}

interface StreamState {
  readonly redactor: StreamRedactor
  readonly decoder: InstanceType<typeof TextDecoder>
  readonly kept: HeadTail
  readonly text: HeadTail
  total: number
  utf8: boolean
  ended: boolean
}

export interface RunOutputOptions {
  readonly run_id: () => string
  readonly store: Pick<Store, 'appendOutput'>
  readonly redactor: Redactor
  readonly limits: OutputLimits
  readonly after: (ms: number, act: () => void) => () => void
  /** False while the run itself is not in the journal (a read, written once with its end): pieces wait. */
  readonly journaled: () => boolean
}

/**
 * Redacts, bounds and journals the output of a run as it comes. Memory: `head + tail + text` per stream, and what is
 * on its way to the journal.
 */
export function createRunOutput(options: RunOutputOptions): RunOutput {
  const streams = { stdout: newStream(options), stderr: newStream(options) }
  let pending: NewOutputChunk[] = []
  let pendingBytes = 0
  let inFlight = 0
  /** One write at a time keeps the order, and lets a piece that was not taken go back to the front. */
  let writing: Promise<void> | undefined
  let failure: unknown
  let cancelTimer: (() => void) | undefined

  function enqueue(stream: OutputStream, bytes: Uint8Array, gap_bytes: number): void {
    if (bytes.length === 0 && gap_bytes === 0) return
    pending.push({ stream, bytes, gap_bytes })
    pendingBytes += bytes.length
    if (pendingBytes >= FLUSH_BYTES) send()
    else cancelTimer ??= options.after(FLUSH_MS, send)
  }

  function send(): void {
    cancelTimer?.()
    cancelTimer = undefined
    if (writing !== undefined || pending.length === 0 || !options.journaled()) return
    const chunks = pending
    inFlight = pendingBytes
    pending = []
    pendingBytes = 0
    failure = undefined
    writing = options.store.appendOutput(options.run_id(), chunks).then(
      () => written(undefined),
      (error: unknown) => {
        // Kept for the next try: `head + tail` bounds what can come together here.
        pending = [...chunks, ...pending]
        pendingBytes += inFlight
        written(error ?? new Error('not written'))
      },
    )
  }

  function written(error: unknown): void {
    inFlight = 0
    writing = undefined
    failure = error
    if (error === undefined && pendingBytes >= FLUSH_BYTES) send()
  }

  function keep(stream: OutputStream, bytes: Uint8Array): void {
    const state = streams[stream]
    state.text.push(bytes)
    enqueue(stream, state.kept.push(bytes), 0)
  }

  function end(stream: OutputStream): StreamState {
    const state = streams[stream]
    if (state.ended) return state
    state.ended = true
    keep(stream, state.redactor.end())
    noteUtf8(state, new Uint8Array(0), true)
    enqueue(stream, state.kept.tail(), state.kept.dropped())
    return state
  }

  return {
    async write(stream, bytes) {
      const state = streams[stream]
      state.total += bytes.length
      noteUtf8(state, bytes, false)
      keep(stream, state.redactor.push(bytes))
      if (inFlight + pendingBytes >= MAX_IN_FLIGHT) await writing
    },
    async collect(stream): Promise<CollectedOutput> {
      const { text, kept, total, utf8 } = end(stream)
      const gap = (bytes: number) => `\n[… ${bytes} bytes left out here …]\n`
      return { text: text.text(gap), bytes: total, dropped_bytes: kept.dropped(), utf8 }
    },
    async flush() {
      end('stdout')
      end('stderr')
      do {
        send()
        await writing
        if (failure !== undefined) throw failure
      } while (pending.length > 0)
    },
  }
}

function newStream({ redactor, limits }: RunOutputOptions): StreamState {
  const half = Math.floor(limits.text / 2)
  return {
    redactor: redactor.stream(),
    decoder: new TextDecoder('utf-8', { fatal: true }),
    kept: createHeadTail({ head: limits.head, tail: limits.tail, keepHead: false }),
    text: createHeadTail({ head: half, tail: limits.text - half }),
    total: 0,
    utf8: true,
    ended: false,
  }
}

function noteUtf8(state: StreamState, bytes: Uint8Array, last: boolean): void {
  if (!state.utf8) return
  try {
    state.decoder.decode(bytes, { stream: !last })
  } catch {
    state.utf8 = false
  }
}
