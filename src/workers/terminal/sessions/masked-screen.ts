import { MASK, type Masker } from '../../../core/masker.ts'
import type { Screen } from '../screen/screen.ts'
import type { Snapshot, StyledRun } from '../screen/snapshot.ts'

/**
 * Rows of a screen with their secrets masked, also one that goes on in the next row. Lengths change with it: a mask is as
 * long as masks are.
 */
export function maskRows(masker: Masker, rows: readonly string[]): readonly string[] {
  const bytes = rows.map((row) => Buffer.from(row))
  const { spans } = masker.find(Buffer.concat(bytes))
  if (spans.length === 0) return rows
  const masked: string[] = []
  let start = 0
  for (const row of bytes) {
    const end = start + row.length
    const pieces: string[] = []
    let at = start
    for (const { from, to } of spans) {
      if (to <= start || from >= end) continue
      if (from > at) pieces.push(row.subarray(at - start, from - start).toString('utf8'))
      // What began in the row before was masked there.
      if (from >= start) pieces.push(MASK)
      at = Math.min(to, end)
    }
    pieces.push(row.subarray(at - start).toString('utf8'))
    masked.push(pieces.join(''))
    start = end
  }
  return masked
}

/**
 * The same for rows with their styles: a row with a secret in it is one run without a style.
 *
 * @param above the rows above them, which are only looked at: a secret may begin there
 */
export function maskRuns(
  masker: Masker,
  runs: readonly (readonly StyledRun[])[],
  above: readonly string[] = [],
): readonly (readonly StyledRun[])[] {
  const texts = runs.map((row) => row.map(({ text }) => text).join(''))
  const masked = maskRows(masker, [...above, ...texts]).slice(above.length)
  return runs.map((row, index) => {
    const text = masked[index] as string
    return text === texts[index] ? row : [{ col: row[0]?.col ?? 0, width: text.length, text }]
  })
}

/** Rows above the screen in which the beginning of a secret is looked for. */
const ROWS_ABOVE = 100

/** What a person would see, with its secrets masked, also one whose beginning has scrolled off the screen. */
export async function maskedSnapshot(
  screen: Pick<Screen, 'snapshot'>,
  masker: Masker,
  { runs = false, history = 0 }: { readonly runs?: boolean; readonly history?: number } = {},
): Promise<Snapshot> {
  const now = await screen.snapshot({ runs, history: Math.max(history, ROWS_ABOVE) })
  const above = now.history ?? []
  const rows = maskRows(masker, [...above, ...now.lines])
  return {
    ...now,
    title: masker.text(now.title),
    history: rows.slice(Math.max(0, above.length - history), above.length),
    lines: rows.slice(above.length),
    ...(now.runs === undefined ? {} : { runs: maskRuns(masker, now.runs, above) }),
  }
}
