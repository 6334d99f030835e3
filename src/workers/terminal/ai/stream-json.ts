/**
 * The output of a command line that speaks `stream-json`: one JSON object a line, each with a `type`; the last one that
 * counts has the type `result`.
 */

export interface StreamMessage {
  /** Offset of its first byte in all of the output. */
  readonly offset: number
  readonly type: string
  readonly value: Readonly<Record<string, unknown>>
}

export interface StreamJson {
  /** Takes output at an offset; what was taken before is passed over, so that nothing is parsed twice. */
  push(offset: number, bytes: Uint8Array): void
  /** The output is over: a last line without a line feed counts too. */
  end(): void
  /** Offset up to which it was parsed: the beginning of the line that is not whole yet. */
  offset(): number
  /** The last message of the type `result`. */
  result(): StreamMessage | null
  messages(): number
  /** Lines that are no JSON object with a type: notices, or escape sequences of a terminal. */
  otherLines(): number
}

/** A longer line is no message; it is passed over, so that memory stays bounded. */
export const MAX_LINE_BYTES = 16 * 1024 * 1024

const LINE_FEED = 0x0a

/** @param onMessage is given every message once, in order */
export function createStreamJson(onMessage: (message: StreamMessage) => void = () => undefined): StreamJson {
  /** Pieces of the line that is not whole yet. */
  let begun: Uint8Array[] = []
  let begunBytes = 0
  let tooLong = false
  let end = 0
  let result: StreamMessage | null = null
  let messages = 0
  let otherLines = 0

  function take(line: string, offset: number): void {
    const value = objectOf(line)
    if (value === undefined) {
      if (line.trim() !== '') otherLines += 1
      return
    }
    const message = { offset, type: value.type, value }
    messages += 1
    if (value.type === 'result') result = message
    onMessage(message)
  }

  function add(piece: Uint8Array): void {
    if (tooLong || begunBytes + piece.length > MAX_LINE_BYTES) {
      tooLong = true
      begun = []
    } else if (piece.length > 0) begun.push(Uint8Array.from(piece))
    begunBytes += piece.length
  }

  function finishLine(): void {
    const offset = end - begunBytes
    if (tooLong) otherLines += 1
    else take(Buffer.concat(begun).toString('utf8'), offset)
    begun = []
    begunBytes = 0
    tooLong = false
  }

  return {
    push(offset, bytes) {
      if (offset > end) {
        // A line with a hole in it is none.
        begun = []
        begunBytes = 0
        tooLong = true
        end = offset
      }
      let rest = bytes.subarray(Math.min(bytes.length, end - offset))
      for (let at = rest.indexOf(LINE_FEED); at >= 0; at = rest.indexOf(LINE_FEED)) {
        add(rest.subarray(0, at))
        end += at
        finishLine()
        end += 1
        rest = rest.subarray(at + 1)
      }
      add(rest)
      end += rest.length
    },
    end() {
      if (begunBytes > 0) finishLine()
    },
    offset: () => end - begunBytes,
    result: () => result,
    messages: () => messages,
    otherLines: () => otherLines,
  }
}

/** A terminal may put escape sequences around a line, and a carriage return at its end. */
function objectOf(line: string): (Readonly<Record<string, unknown>> & { readonly type: string }) | undefined {
  const from = line.indexOf('{')
  const to = line.lastIndexOf('}')
  if (from < 0 || to < from || !isAround(line.slice(0, from)) || !isAround(line.slice(to + 1))) return undefined
  try {
    const value: unknown = JSON.parse(line.slice(from, to + 1))
    return typeof value === 'object' && value !== null && typeof (value as { type?: unknown }).type === 'string'
      ? (value as Record<string, unknown> & { type: string })
      : undefined
  } catch {
    return undefined
  }
}

/** Nothing but white space and escape sequences. */
function isAround(text: string): boolean {
  return /^(?:\s|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[=>78])*$/.test(text)
}
