/**
 * Characters that people do not see, or that change what they see, in text from elsewhere: names of files, words of a
 * host. Each surface decides whether it takes them out or shows them by their numbers.
 */

/**
 * Bidirectional controls: they turn text around, so that a name reads as another one. Unicode 16, UAX #9. As the inside
 * of a character class.
 */
export const BIDIRECTIONAL = '\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069'

/**
 * Characters without a glyph: bidirectional controls, and those that carry words that only a model reads (tag
 * characters, zero-width ones). Unicode 16, general category Cf and the tag block; soft hyphen included.
 */
export const INVISIBLE = /[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e007f}]/gu

/** What JSON leaves as it is and nobody sees: DEL, C1, and the characters without a glyph. */
const HIDDEN_IN_JSON = new RegExp(`[\\u007f-\\u009f]|${INVISIBLE.source}`, 'gu')

/** A value as JSON in which every character can be seen: what cannot is escaped, so it parses to the same value. */
export function visibleJson(value: unknown): string {
  return JSON.stringify(value).replace(HIDDEN_IN_JSON, (hidden) =>
    hidden
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  )
}

/** A name as it is where every character of it can be seen and none is a backslash; as visible JSON otherwise. */
export function visibleName(name: string): string {
  const quoted = visibleJson(name)
  return quoted.slice(1, -1) === name ? name : quoted
}
