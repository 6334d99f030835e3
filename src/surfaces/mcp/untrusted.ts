import { plainLine, plainText } from '../plain-text.ts'

/**
 * Text from targets, as agents see it: without what could steer a terminal or hide words from people, between two lines
 * that say whose words these are.
 */

/** Key in `_meta` of everything that carries words of a target. */
export const UNTRUSTED = 'mahavishnu/untrusted'

/**
 * Characters without a glyph: they turn text around (bidirectional controls), or carry words that only a model reads
 * (tag characters, zero-width ones). Unicode 16, general category Cf and the tag block; soft hyphen included.
 */
const INVISIBLE = /[\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e007f}]/gu

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

/** Without escape sequences, control characters and invisible characters. */
export function cleanText(text: string): string {
  return plainText(text).replace(INVISIBLE, '').toWellFormed()
}

/** The same on one line. */
export function cleanLine(text: string): string {
  return plainLine(text).replace(INVISIBLE, '').toWellFormed()
}

/** What the two lines around a text have in common: the end of the run's id, which the target is never told. */
export function markOf(run_id: string): string {
  return run_id.slice(-8)
}

/** A text between its marks. `title` says what it is: `output`, `standard error`. */
export function marked(title: string, target: string | null, mark: string, text: string): string[] {
  const from = target === null ? title : `${title} from ${cleanLine(target)}`
  return [`--- ${from}, untrusted [${mark}] ---`, text.replace(/\n$/, ''), `--- end of ${title} [${mark}] ---`]
}
