/** asciicast v2: a line of JSON with the header, then one for each event. https://docs.asciinema.org/manual/asciicast/v2/ */

export interface CastHeader {
  readonly version: 2
  readonly width: number
  readonly height: number
  /** Seconds since the epoch at which it begins. */
  readonly timestamp: number
  readonly title?: string
  readonly command?: string
  readonly env?: Readonly<Record<string, string>>
}

/** `o`: output; `i`: what was typed; `r`: `COLSxROWS`; `m`: a marker, here for what is not in the recording. */
export type CastEventKind = 'o' | 'i' | 'r' | 'm'

export interface CastEvent {
  /** Seconds since the beginning. */
  readonly at: number
  readonly kind: CastEventKind
  readonly data: string
}

export function headerLine(header: CastHeader): string {
  return `${JSON.stringify(header)}\n`
}

export function eventLine({ at, kind, data }: CastEvent): string {
  return `[${at.toFixed(6)},"${kind}",${JSON.stringify(data)}]\n`
}

/**
 * The events of a recording; a last line that was cut off is left out.
 *
 * @throws Error where it is no asciicast v2
 */
export function parseCast(text: string): { readonly header: CastHeader; readonly events: readonly CastEvent[] } {
  const lines = text.split('\n')
  const header = parseLine(lines[0] ?? '') as CastHeader | undefined
  if (header?.version !== 2 || !(header.width > 0) || !(header.height > 0)) throw new Error('no asciicast v2')
  const events = lines.slice(1).flatMap((line, index) => {
    if (line === '') return []
    const event = parseLine(line)
    if (Array.isArray(event) && event.length === 3) {
      const [at, kind, data] = event as [number, CastEventKind, string]
      return [{ at, kind, data }]
    }
    if (index === lines.length - 2) return []
    throw new Error(`line ${index + 2} is no event`)
  })
  return { header, events }
}

function parseLine(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}
