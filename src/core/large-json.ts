/** From so many characters on the text is kept: to write it once more would take longer than to look it up. */
const LARGE = 4_096

const texts = new WeakMap<object, string>()

/** Keeps the JSON text of a large value, which must not change any more, for whoever needs it as long as the value lives. */
export function keepLargeJson(value: object, text: string): void {
  if (text.length >= LARGE) texts.set(value, text)
}

/** The kept JSON text of a value; undefined where there is none. */
export function largeJson(value: unknown): string | undefined {
  return typeof value === 'object' && value !== null ? texts.get(value) : undefined
}
