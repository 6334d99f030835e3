/** The line that stands in a text where something was left out: written and read here alone. */

export const LEFT_OUT_UNITS = ['bytes', 'characters'] as const
export type LeftOutUnit = (typeof LEFT_OUT_UNITS)[number]

/** `\n[… 9667 characters left out here …]\n`, between what stands before and after it. */
export function leftOutLine(count: number, unit: LeftOutUnit): string {
  return `\n[… ${count} ${unit} left out here …]\n`
}

const LINE = new RegExp(`\\n\\[… (\\d+) (${LEFT_OUT_UNITS.join('|')}) left out here …\\]\\n`)

/** What the first such line of a text says; null where there is none. */
export function leftOutOf(text: string): { readonly count: number; readonly unit: LeftOutUnit } | null {
  const [, count, unit] = LINE.exec(text) ?? []
  return count === undefined ? null : { count: Number(count), unit: unit as LeftOutUnit }
}
