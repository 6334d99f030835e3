import { plainText } from '../plain-text.ts'
import type { CliIo, OutStream } from './io.ts'

/** Where a command writes: data to standard output, everything else to standard error. */
export interface CliOutput {
  /** Bytes or text as they are; on a terminal without escape sequences. */
  data(text: string | Uint8Array): void
  /** The same for the standard error of what was run. */
  errorData(text: string | Uint8Array): void
  /** Text for people on standard output; a newline is added. */
  say(text: string): void
  /** The one document of `--json`. */
  document(value: unknown): void
  /** One of several documents, each on a line of its own, of `--jsonl`. */
  line(value: unknown): void
  /** A question on the terminal; the answer follows on the same line. */
  prompt(text: string): void
  /** Something worth knowing, on standard error; nothing with `--quiet`. */
  note(text: string): void
  /** What went wrong, on standard error. */
  complain(text: string): void
  /** A line on the terminal that the next one replaces; nothing where standard error is none, or with `--quiet`. */
  progress(text: string): void
  /** Whether standard error is a terminal. */
  readonly onTerminal: boolean
  /** Whether anybody still reads standard output. */
  isOpen(): boolean
  /** Width of the terminal; null where standard output is none. */
  readonly columns: number | null
  /** Fulfilled when everything is written, or nobody reads it any longer. */
  flush(): Promise<void>
}

export function createOutput(io: Pick<CliIo, 'stdout' | 'stderr'>, options: { quiet: boolean }): CliOutput {
  const out = writerOf(io.stdout)
  const err = writerOf(io.stderr)
  let progressShown = false

  function clearProgress(): void {
    if (progressShown) err.write('\r\x1b[K')
    progressShown = false
  }

  const line = (text: string) => (text.endsWith('\n') ? text : `${text}\n`)

  return {
    data(text) {
      clearProgress()
      out.write(safe(io.stdout, text))
    },
    errorData(text) {
      clearProgress()
      err.write(safe(io.stderr, text))
    },
    say: (text) => out.write(line(text)),
    document: (value) => out.write(`${json(io.stdout, value, io.stdout.isTTY ? 2 : undefined)}\n`),
    line: (value) => out.write(`${json(io.stdout, value)}\n`),
    prompt(text) {
      clearProgress()
      err.write(text)
    },
    note(text) {
      if (options.quiet) return
      clearProgress()
      err.write(line(text))
    },
    complain(text) {
      clearProgress()
      err.write(line(text))
    },
    progress(text) {
      if (options.quiet || !io.stderr.isTTY) return
      const width = (io.stderr.columns ?? 80) - 1
      err.write(`\r\x1b[K${text.slice(0, width)}`)
      progressShown = true
    },
    onTerminal: io.stderr.isTTY === true,
    isOpen: () => out.isOpen(),
    columns: io.stdout.isTTY ? (io.stdout.columns ?? 80) : null,
    async flush() {
      clearProgress()
      await Promise.all([out.flush(), err.flush()])
    },
  }
}

/** A terminal would follow the orders in what a remote system says; a pipe gets what came. */
function safe(stream: OutStream, text: string | Uint8Array): string | Uint8Array {
  return stream.isTTY ? plainText(typeof text === 'string' ? text : Buffer.from(text).toString('utf8')) : text
}

/** JSON leaves DEL and the C1 controls as they are, by which a terminal takes orders as well as by ESC. */
function json(stream: OutStream, value: unknown, indent?: number): string {
  const text = JSON.stringify(value, null, indent)
  if (!stream.isTTY) return text
  return text.replace(/[\x7f-\x9f]/g, (character) => `\\u00${character.charCodeAt(0).toString(16)}`)
}

/** A reader that has gone away (`| head`) is no error: what would come after is dropped. */
function writerOf(stream: OutStream) {
  let open = true
  let last: Promise<void> = Promise.resolve()
  stream.on('error', () => {
    open = false
  })
  return {
    isOpen: () => open,
    write(text: string | Uint8Array) {
      if (!open || text.length === 0) return
      last = new Promise((resolve) => stream.write(text, () => resolve()))
    },
    flush: () => last,
  }
}
