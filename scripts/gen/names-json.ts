/** JSON for a file that is read in reviews: as the formatter of the checkout would write it, so that the two agree. */

const WIDTH = 120

export function jsonText(value: unknown): string {
  return `${render(value, '', 0)}\n`
}

/** `column` is where the value begins on its line. */
function render(value: unknown, indent: string, column: number): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const deeper = `${indent}  `
  if (Array.isArray(value)) {
    const flat = `[${value.map((each) => JSON.stringify(each)).join(', ')}]`
    const scalars = value.every((each) => typeof each !== 'object' || each === null)
    // One more for the comma behind it.
    if (scalars && column + flat.length < WIDTH) return flat
    return block(
      '[',
      ']',
      indent,
      value.map((each) => deeper + render(each, deeper, deeper.length)),
    )
  }
  const rows = Object.entries(value).filter(([, each]) => each !== undefined)
  if (rows.length === 0) return '{}'
  return block(
    '{',
    '}',
    indent,
    rows.map(([key, each]) => {
      const head = `${deeper}${JSON.stringify(key)}: `
      return head + render(each, deeper, head.length)
    }),
  )
}

function block(open: string, close: string, indent: string, rows: readonly string[]): string {
  return rows.length === 0 ? open + close : `${open}\n${rows.join(',\n')}\n${indent}${close}`
}
