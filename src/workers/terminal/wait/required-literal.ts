/**
 * What a regular expression cannot match without: a search for a plain text is many times faster than a match, so that
 * output without it need not be matched at all. Whatever is not understood here for certain has no such text.
 */

/** Classes of characters and places between them: what is next to them is not next to each other. */
const ESCAPED_CLASSES = 'dDwWsSbBAzaftnrv'
const PUNCTUATION = /^[!-/:-@[-`{-~]$/
const REPEAT = /^\{\d+(?:,\d*)?\}/

/**
 * The longest text that is in every match of an expression in the syntax of RE2 without flags; null where there is none, or
 * none is known. It has no control characters.
 */
export function requiredLiteral(source: string): string | null {
  const runs: string[] = []
  let run: string[] = []
  let depth = 0
  const end = () => {
    runs.push(run.join(''))
    run = []
  }
  for (let at = 0; at < source.length; ) {
    const token = tokenAt(source, at)
    if (token === undefined) return null
    at += token.text.length
    if (token.kind === 'open') depth += 1
    else if (token.kind === 'close') depth -= 1
    // What stands in a group may be one of several, or repeated not at all.
    if (depth > 0 || token.kind === 'close') end()
    else if (token.kind === 'character') run.push(token.character)
    else if (token.kind === 'or') return null
    else {
      if (token.kind === 'optional') run.pop()
      end()
    }
  }
  end()
  return runs.flatMap(withoutControls).reduce<string | null>((best, each) => longer(best, each), null)
}

/** The longest part of a text without control characters; null where it has none. */
export function longestPlainPart(text: string): string | null {
  return withoutControls(text).reduce<string | null>((best, each) => longer(best, each), null)
}

const withoutControls = (text: string): readonly string[] => text.split(/[\0-\x1f]/)
const longer = (best: string | null, each: string) => (each.length > (best?.length ?? 0) ? each : best)

type Token =
  | { readonly kind: 'character'; readonly text: string; readonly character: string }
  /** `optional`: what is before it may be left out. `other`: a class, a place, one or more. */
  | { readonly kind: 'open' | 'close' | 'or' | 'optional' | 'other'; readonly text: string }

function tokenAt(source: string, at: number): Token | undefined {
  const text = String.fromCodePoint(source.codePointAt(at) as number)
  switch (text) {
    case '\\':
      return escapeAt(source, at)
    case '[':
      return classAt(source, at)
    case '(':
      return groupAt(source, at)
    case ')':
      return { kind: 'close', text }
    case '|':
      return { kind: 'or', text }
    case '*':
    case '?':
      return { kind: 'optional', text }
    case '{': {
      const repeat = REPEAT.exec(source.slice(at, at + 20))
      return repeat === null ? undefined : { kind: 'optional', text: repeat[0] }
    }
    case '+':
    case '.':
    case '^':
    case '$':
      return { kind: 'other', text }
    default:
      return { kind: 'character', text, character: text }
  }
}

function escapeAt(source: string, at: number): Token | undefined {
  const next = source[at + 1] ?? ''
  if (PUNCTUATION.test(next)) return { kind: 'character', text: `\\${next}`, character: next }
  return next !== '' && ESCAPED_CLASSES.includes(next) ? { kind: 'other', text: `\\${next}` } : undefined
}

function classAt(source: string, at: number): Token | undefined {
  // Without classes in it, and without a bracket in front, which would be one of its characters.
  const simple = /^\[\^?(?:[^\]\\[]|\\[^pPxQE0-9])(?:[^\]\\[]|\\[^pPxQE0-9])*\]/.exec(source.slice(at))
  return simple === null ? undefined : { kind: 'other', text: simple[0] }
}

function groupAt(source: string, at: number): Token | undefined {
  const begin = /^\((?:\?:|\?P?<[A-Za-z_][A-Za-z0-9_]*>)?(?!\?)/.exec(source.slice(at))
  return begin === null ? undefined : { kind: 'open', text: begin[0] }
}
