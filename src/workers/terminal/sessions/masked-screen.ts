import { MASK, type Masker } from '../../../core/masker.ts'
import type { StyledRun } from '../screen/snapshot.ts'

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

/** The same for rows with their styles: a row with a secret in it is one run without a style. */
export function maskRuns(masker: Masker, runs: readonly (readonly StyledRun[])[]): readonly (readonly StyledRun[])[] {
  const texts = runs.map((row) => row.map(({ text }) => text).join(''))
  const masked = maskRows(masker, texts)
  return runs.map((row, index) => {
    const text = masked[index] as string
    return text === texts[index] ? row : [{ col: row[0]?.col ?? 0, width: text.length, text }]
  })
}
