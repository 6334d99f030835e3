import { randomUUID } from 'node:crypto'

/**
 * How a command's own shell tells, in band on standard error, that it starts: `marker PID`, or why it does not. The
 * marker is random, so that nothing else on the stream can be taken for it; the report is cut out of the stream.
 */
export type StartReport =
  | { readonly kind: 'started'; readonly pid: number }
  /** The working directory could not be entered, or a variable not be set: the command did not run. */
  | { readonly kind: 'cwd' }
  | { readonly kind: 'env' }

/** Letters, digits and dashes only: it stands unquoted in lines for every kind of shell. */
export function newMarker(): string {
  return `mahavishnu-${randomUUID()}`
}

/** Bytes of standard error in which the report is looked for; a shell that says more before it starts is on its own. */
const SEARCH_BYTES = 1024 * 1024

export interface StartScanner {
  /** Takes a piece of standard error and returns what belongs to the command, in order. */
  push(bytes: Buffer): Buffer
  /** What is held back when the stream has ended. */
  end(): Buffer
  report(): StartReport | undefined
}

const NOTHING = Buffer.alloc(0)

export function createStartScanner(marker: string, onReport?: (report: StartReport) => void): StartScanner {
  const needle = Buffer.from(`${marker} `)
  let held: Buffer = NOTHING
  let searched = 0
  let report: StartReport | undefined
  let searching = true

  function push(bytes: Buffer): Buffer {
    if (!searching) return bytes
    const text = held.length === 0 ? bytes : Buffer.concat([held, bytes])
    const start = text.indexOf(needle)
    if (start < 0) return holdBack(text, Math.min(text.length, needle.length - 1))
    const end = text.indexOf(0x0a, start)
    // A report is short; a long line behind the marker is none.
    if (end < 0 && text.length - start < 200) return holdBack(text, text.length - start)
    searching = false
    held = NOTHING
    report = end < 0 ? undefined : parseReport(text.toString('latin1', start + needle.length, end))
    if (report === undefined) return text
    onReport?.(report)
    return start === 0 ? text.subarray(end + 1) : Buffer.concat([text.subarray(0, start), text.subarray(end + 1)])
  }

  function holdBack(text: Buffer, bytes: number): Buffer {
    const pass = text.subarray(0, text.length - bytes)
    searched += pass.length
    held = text.subarray(text.length - bytes)
    if (searched < SEARCH_BYTES) return pass
    searching = false
    held = NOTHING
    return text
  }

  return {
    push,
    end() {
      const rest = held
      held = NOTHING
      return rest
    },
    report: () => report,
  }
}

function parseReport(line: string): StartReport | undefined {
  // A terminal ends its lines with both.
  const text = line.replace(/\r$/, '')
  if (text === 'cwd' || text === 'env') return { kind: text }
  // 0 and 1 are no session of a command, and 22 bits are the most that Linux gives (PID_MAX_LIMIT); others give less.
  return /^[1-9][0-9]{0,9}$/.test(text) && text !== '1' ? { kind: 'started', pid: Number(text) } : undefined
}
