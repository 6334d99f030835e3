import { promisify } from 'node:util'
import { gzip as gzipCallback } from 'node:zlib'
import { type CastEventKind, eventLine, headerLine } from '../../../core/asciicast.ts'
import type { Clock } from '../../../core/clock.ts'
import type { Logger } from '../../../core/context.ts'
import type { Masker } from '../../../core/masker.ts'
import { incompleteEnd } from '../../../core/utf8.ts'
import { maskPart } from './mask.ts'
import type { RecordingFacts, RecordingFiles } from './recording-files.ts'

const gzip = promisify(gzipCallback)

/** Output that comes within this time of the one before is the same event, in milliseconds. */
const TOGETHER_MS = 5
/** Longest event of output, in characters. */
const EVENT_LENGTH = 32_768
/** Characters of events that are compressed at once. */
const BLOCK_LENGTH = 262_144
/** How long events may wait to be written, in milliseconds: as much as a kill -9 costs. */
const WRITE_AFTER_MS = 1_000
/** Characters that may wait to be written before `output` is to be waited for. */
const WAITING_LENGTH = 4 * BLOCK_LENGTH

/** Records one session. What it cannot write it says once in the log, and stops: the session goes on without it. */
export interface Recorder {
  /** False since something could not be written. */
  works(): boolean
  /** Cursor up to which the output was taken. */
  cursor(): number
  /** What the program wrote at this cursor. Waiting is the backpressure. What was recorded already is passed over. */
  output(offset: number, bytes: Uint8Array): Promise<void> | void
  /** What was typed, as it is to be shown: a secret by its name. */
  input(text: string): void
  resize(rows: number, cols: number): void
  mark(text: string): void
  /** From now on the secret of this name may come. Resolves when that is on disk. */
  secret(name: string): Promise<void>
  /** Writes what there is. */
  flush(): Promise<void>
  /** Writes what there is; with `ended`, the recording is complete. */
  close(ended: boolean): Promise<void>
}

export interface RecorderParts {
  readonly files: RecordingFiles
  readonly clock: Clock
  readonly log: Logger
  readonly masker: Masker
  /** Bytes that the files of this recording may have. */
  readonly maxBytes: number
  /** The screen as escape sequences, for the beginning of a file that follows another one. */
  screen?(): Promise<string>
}

/** Goes on with the recording that these facts are of; a new one has `recorded_to` and `file_bytes` 0. */
export async function createRecorder(parts: RecorderParts, begun: RecordingFacts): Promise<Recorder> {
  await parts.files.cutTo(begun.session, begun.file_bytes)
  if (begun.file_bytes === 0) await parts.files.writeFacts(begun)
  return new FileRecorder(parts, begun)
}

class FileRecorder implements Recorder {
  readonly #parts: RecorderParts
  #facts: RecordingFacts
  /** As it was before the lines that are to be written. */
  #size: { readonly rows: number; readonly cols: number }
  /** Lines that are to be written. */
  #lines: string[] = []
  #length = 0
  /** Characters that were given to be written and are not yet. */
  #waiting = 0
  /** The event that output is still added to. */
  #open: { readonly at: number; text: string } | undefined
  #lastAt = 0
  /** Output that was taken and may be the beginning of a secret or of a character. */
  #held: Buffer = Buffer.alloc(0)
  #cursor: number
  #headed: boolean
  #cancel: (() => void) | undefined
  #writing: Promise<void> = Promise.resolve()
  #broken = false
  #closed = false

  constructor(parts: RecorderParts, facts: RecordingFacts) {
    this.#parts = parts
    this.#facts = facts
    this.#size = facts
    this.#cursor = facts.recorded_to
    this.#headed = facts.file_bytes > 0
  }

  works(): boolean {
    return !this.#broken
  }

  cursor(): number {
    return this.#cursor
  }

  output(offset: number, bytes: Uint8Array): Promise<void> | void {
    if (this.#broken || this.#closed) return
    const known = Math.max(0, this.#cursor - offset)
    if (known >= bytes.length) return
    if (offset > this.#cursor) {
      this.#take(true)
      this.mark(`${offset - this.#cursor} bytes of output are not in the recording`)
      this.#cursor = offset
    }
    const piece = bytes.subarray(known)
    this.#held = this.#held.length === 0 ? Buffer.from(piece) : Buffer.concat([this.#held, piece])
    this.#cursor += piece.length
    this.#take(false)
    this.#writeSoon()
    if (this.#waiting > WAITING_LENGTH) return this.#writing
  }

  input(text: string): void {
    this.#event('i', this.#parts.masker.text(text))
  }

  resize(rows: number, cols: number): void {
    this.#facts = { ...this.#facts, rows, cols }
    this.#event('r', `${cols}x${rows}`)
  }

  mark(text: string): void {
    this.#event('m', text)
  }

  async secret(name: string): Promise<void> {
    if (this.#facts.secrets.includes(name)) return
    this.#facts = { ...this.#facts, secrets: [...this.#facts.secrets, name] }
    await this.flush()
  }

  flush(): Promise<void> {
    this.#cancel?.()
    this.#cancel = undefined
    this.#closeOpen()
    // What is held back was not recorded: after a crash it comes again.
    const recorded_to = this.#cursor - this.#held.length
    const lines = this.#lines
    const length = this.#length
    const size = this.#size
    this.#size = this.#facts
    this.#lines = []
    this.#length = 0
    this.#waiting += length
    this.#writing = this.#writing
      .then(() => this.#write(lines, recorded_to, size))
      .finally(() => {
        this.#waiting -= length
      })
    return this.#writing
  }

  async close(ended: boolean): Promise<void> {
    if (this.#closed) return this.#writing
    if (ended) {
      this.#take(true)
      this.#facts = { ...this.#facts, ended_at: this.#parts.clock.now() }
    }
    await this.flush()
    this.#closed = true
  }

  /** Takes what is safe to write from what is held back. */
  #take(last: boolean): void {
    const { bytes, used } = maskPart(this.#parts.masker, this.#held, { last })
    // Nothing is masked within a character, so that what is incomplete at the end is the same in both.
    const rest = last ? 0 : incompleteEnd(bytes)
    this.#held = this.#held.subarray(used - rest)
    const text = bytes.subarray(0, bytes.length - rest).toString('utf8')
    if (text === '') return
    const at = this.#now()
    if (this.#open === undefined || at - this.#open.at > TOGETHER_MS / 1000 || this.#open.text.length > EVENT_LENGTH) {
      this.#closeOpen()
      this.#open = { at, text }
    } else this.#open.text += text
    this.#length += text.length
  }

  #closeOpen(): void {
    if (this.#open === undefined) return
    const { at, text } = this.#open
    this.#open = undefined
    this.#lines.push(eventLine({ at, kind: 'o', data: text }))
  }

  #event(kind: CastEventKind, data: string): void {
    if (this.#broken || this.#closed) return
    this.#closeOpen()
    this.#lines.push(eventLine({ at: this.#now(), kind, data }))
    this.#length += data.length
    this.#writeSoon()
  }

  #writeSoon(): void {
    if (this.#length > BLOCK_LENGTH) void this.flush()
    else this.#cancel ??= this.#parts.clock.after(WRITE_AFTER_MS, () => void this.flush())
  }

  /** Seconds since the beginning; never less than the one before, whatever the clock does. */
  #now(): number {
    this.#lastAt = Math.max(this.#lastAt, (this.#parts.clock.now() - this.#facts.started_at) / 1000)
    return this.#lastAt
  }

  async #write(
    lines: readonly string[],
    recorded_to: number,
    size: { readonly rows: number; readonly cols: number },
  ): Promise<void> {
    if (this.#broken) return
    const { files, maxBytes, log } = this.#parts
    const { session } = this.#facts
    try {
      if (lines.length > 0) {
        if (this.#facts.file_bytes > maxBytes / 2) {
          await files.rotate(session)
          this.#facts = { ...this.#facts, file_bytes: 0, cut: true }
          this.#headed = false
        }
        const member = await gzip((await this.#head(size)) + lines.join(''), { level: 1 })
        await files.append(session, member)
        this.#headed = true
        this.#facts = { ...this.#facts, recorded_to, file_bytes: this.#facts.file_bytes + member.length }
      }
      await files.writeFacts(this.#facts)
    } catch (error) {
      this.#broken = true
      log.error('a terminal session is not recorded any longer', { session, error })
    }
  }

  /** What a file begins with. */
  async #head({ rows, cols }: { readonly rows: number; readonly cols: number }): Promise<string> {
    if (this.#headed) return ''
    const { started_at, command, term, cut } = this.#facts
    const header = headerLine({
      version: 2,
      width: cols,
      height: rows,
      timestamp: Math.floor(started_at / 1000),
      ...(command === null ? {} : { command: this.#parts.masker.text(command) }),
      env: { TERM: term },
    })
    const screen = cut ? await this.#parts.screen?.() : undefined
    if (screen === undefined || screen === '') return header
    return header + eventLine({ at: this.#now(), kind: 'o', data: this.#parts.masker.text(screen) })
  }
}
