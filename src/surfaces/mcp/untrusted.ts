import { INVISIBLE } from '../../core/visible-text.ts'
import { plainLine, plainText } from '../plain-text.ts'

/**
 * Text from targets, as agents see it: without what could steer a terminal or hide words from people, between two lines
 * that say whose words these are.
 */

/** Key in `_meta` of everything that carries words of a target. */
export const UNTRUSTED = 'mahavishnu/untrusted'

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
