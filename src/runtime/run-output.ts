import { isUtf8 } from 'node:buffer'
import { type CollectedOutput, OUTPUT_STREAMS, type OutputSink, type OutputStream } from '../core/context.ts'
import { createHeadTail, type HeadTail } from '../core/head-tail.ts'
import { leftOutLine } from '../core/left-out.ts'
import { incompleteEnd } from '../core/utf8.ts'
import type { Redactor, StreamRedactor } from '../governance/redaction.ts'
import { createOutputQueue, type OutputQueue, type OutputQueueOptions } from './output-queue.ts'

/** All in bytes. `head` and `tail` are kept of each stream in the journal, `text` in the result. */
export interface OutputLimits {
  readonly head: number
  readonly tail: number
  readonly text: number
}

/** The output of one run. */
export interface RunOutput {
  /**
   * The sink of a new attempt. That of the attempt before is ended, and what comes there later is ignored.
   *
   * @param again the attempt goes on with what the one before had begun, and brings its output from the beginning once more
   */
  attempt(again?: boolean): OutputSink
  /** Ends the sink and hands the last pieces to the journal. Rejects when any piece could not be written. */
  flush(): Promise<void>
}

/** Bytes of each stream that the journal has of a run already. */
export type KeptOutput = Readonly<Record<OutputStream, number>>

export interface RunOutputOptions extends OutputQueueOptions {
  readonly redactor: Pick<Redactor, 'stream'>
  readonly limits: OutputLimits
  /** Of a run that is taken up again: the first attempt here brings its output from the beginning once more. */
  readonly keptBefore?: KeptOutput
}

/**
 * Redacts, bounds and journals the output of a run as it comes. Memory: `head + tail + text` per stream, where the head
 * is on its way to the journal.
 */
export function createRunOutput(options: RunOutputOptions): RunOutput {
  const queue = createOutputQueue(options)
  let current: ReturnType<typeof createSink> | undefined
  let keptBefore = options.keptBefore ?? NOTHING_KEPT

  return {
    attempt(again = false) {
      if (again) keptBefore = current?.abandon() ?? keptBefore
      else current?.end()
      current = createSink(options, queue, keptBefore)
      keptBefore = NOTHING_KEPT
      return current.sink
    },
    async flush() {
      current?.end()
      await queue.flush()
    },
  }
}

const NOTHING_KEPT: KeptOutput = { stdout: 0, stderr: 0 }

const NO_BYTES = new Uint8Array(0)

interface StreamState {
  readonly redactor: StreamRedactor
  /** Made for the first piece that is not whole characters: most commands never need one, and making it takes long. */
  decoder: InstanceType<typeof TextDecoder> | undefined
  readonly kept: HeadTail
  readonly text: HeadTail
  /** The beginning of a character of which the rest is still to come. */
  begun: Uint8Array
  total: number
  utf8: boolean
  ended: boolean
  /** Kept bytes that are still to come and that the journal has already. */
  journaled: number
  /** Kept bytes that the journal has or gets, from the beginning of the stream on. */
  given: number
}

function createSink(options: RunOutputOptions, queue: OutputQueue, keptBefore: KeptOutput) {
  const streams = { stdout: newStream(options, keptBefore.stdout), stderr: newStream(options, keptBefore.stderr) }

  /** `gapBytes` stands before these bytes: where the journal has any of them, it has that too. */
  function add(stream: OutputStream, bytes: Uint8Array, gapBytes: number): void {
    const state = streams[stream]
    const known = Math.min(state.journaled, bytes.length)
    state.journaled -= known
    state.given += bytes.length - known
    queue.add(stream, bytes.subarray(known), known > 0 ? 0 : gapBytes)
  }

  function keep(stream: OutputStream, redacted: Uint8Array, last: boolean): void {
    const state = streams[stream]
    const bytes = state.begun.length === 0 ? redacted : Buffer.concat([state.begun, redacted])
    const whole = last ? bytes : bytes.subarray(0, bytes.length - incompleteEnd(bytes))
    state.begun = whole.length === bytes.length ? NO_BYTES : Uint8Array.from(bytes.subarray(whole.length))
    state.text.push(whole)
    add(stream, state.kept.push(whole), 0)
  }

  function end(stream: OutputStream): StreamState {
    const state = streams[stream]
    if (state.ended) return state
    state.ended = true
    keep(stream, state.redactor.end(), true)
    noteUtf8(state, NO_BYTES, true)
    add(stream, state.kept.tail(), state.kept.dropped())
    return state
  }

  const sink: OutputSink = {
    async write(stream, bytes) {
      const state = streams[stream]
      // What was left behind at its deadline may go on writing; its run is over.
      if (state.ended) return
      state.total += bytes.length
      noteUtf8(state, bytes, false)
      keep(stream, state.redactor.push(bytes), false)
      await queue.room()
    },
    async collect(stream): Promise<CollectedOutput> {
      const { text, kept, total, utf8 } = end(stream)
      const gap = (bytes: number) => leftOutLine(bytes, 'bytes')
      const dropped_bytes = Math.min(kept.dropped(), text.dropped())
      return { text: text.text(gap), bytes: total, dropped_bytes, utf8 }
    },
  }
  return {
    sink,
    end() {
      for (const stream of OUTPUT_STREAMS) end(stream)
    },
    /** Takes nothing more, and what it holds back is not written: the same bytes come again. */
    abandon(): KeptOutput {
      for (const stream of OUTPUT_STREAMS) streams[stream].ended = true
      return { stdout: streams.stdout.given, stderr: streams.stderr.given }
    },
  }
}

function newStream({ redactor, limits }: RunOutputOptions, journaled: number): StreamState {
  const half = Math.floor(limits.text / 2)
  return {
    redactor: redactor.stream(),
    decoder: undefined,
    kept: createHeadTail({ head: limits.head, tail: limits.tail, keepHead: false }),
    text: createHeadTail({ head: half, tail: limits.text - half }),
    begun: NO_BYTES,
    total: 0,
    utf8: true,
    ended: false,
    journaled,
    given: journaled,
  }
}

function noteUtf8(state: StreamState, bytes: Uint8Array, last: boolean): void {
  if (!state.utf8) return
  if (state.decoder === undefined && isUtf8(bytes)) return
  try {
    state.decoder ??= new TextDecoder('utf-8', { fatal: true })
    state.decoder.decode(bytes, { stream: !last })
  } catch {
    state.utf8 = false
  }
}
