import { mhvError } from '../../../core/errors.ts'
import { quoted } from '../../../core/suggest.ts'
import { longestPlainPart, requiredLiteral } from './required-literal.ts'

export const MAX_PATTERN = 1000
/** Characters of a match that a result repeats. */
const MAX_MATCH = 2000

export interface Pattern {
  /** A text without control characters that is in every match; null where none is known. */
  readonly literal: string | null
  /** The first match and its groups; null where there is none. Time grows with the text's length, never faster. */
  find(text: string): PatternMatch | null
}

export interface PatternMatch {
  readonly text: string
  readonly groups: readonly (string | null)[]
}

/** Plain text, found as it stands. */
export function textPattern(wanted: string): Pattern {
  if (wanted === '' || wanted.length > MAX_PATTERN) throw lengthError('text')
  return {
    literal: longestPlainPart(wanted),
    find: (text) => (text.includes(wanted) ? { text: wanted, groups: [] } : null),
  }
}

/**
 * A regular expression in the syntax of RE2, which can be matched in linear time whatever it is and whatever the text:
 * no back references, no look-around. `^` and `$` match at the ends of lines.
 *
 * @throws MHV_INPUT_INVALID
 */
export async function regexPattern(source: string): Promise<Pattern> {
  if (source === '' || source.length > MAX_PATTERN) throw lengthError('regex')
  const { RE2JS } = await import('re2js')
  const compile = () => {
    try {
      return RE2JS.compile(source, RE2JS.MULTILINE)
    } catch (error) {
      throw mhvError('MHV_INPUT_INVALID', `regex: ${quoted(source)} cannot be used: ${(error as Error).message}`, {
        remedy: 'Write it in the syntax of RE2: without back references and look-around.',
        cause: error,
      })
    }
  }
  const compiled = compile()
  return {
    literal: requiredLiteral(source),
    find(text) {
      const matcher = compiled.matcher(text)
      if (!matcher.find()) return null
      const groups = Array.from(
        { length: matcher.groupCount() },
        (_, index) => matcher.group(index + 1)?.slice(0, MAX_MATCH) ?? null,
      )
      return { text: (matcher.group() ?? '').slice(0, MAX_MATCH), groups }
    },
  }
}

const lengthError = (field: string) =>
  mhvError('MHV_INPUT_INVALID', `${field}: must have 1 to ${MAX_PATTERN} characters`)
