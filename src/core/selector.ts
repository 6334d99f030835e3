import { type ResolvedTarget, TIERS } from './context.ts'
import { type MhvError, mhvError } from './errors.ts'
import { matchesPattern } from './glob.ts'

/**
 * Selectors: which targets of the inventory a batch is about.
 *
 *     select := both { "or" both }
 *     both   := one { "and" one }
 *     one    := "not" one | "(" select ")" | term
 *     term   := [ "tag:" | "tier:" | "group:" | "name:" ] value { "," value }
 *
 * So `not` binds closest, then `and`, then `or`. A value is a name or a pattern with `*` and `?`; several with commas
 * between them stand for any of them. Without a word before the colon it is the name of a target.
 */
export type Selector =
  | { readonly kind: 'or' | 'and'; readonly of: readonly Selector[] }
  | { readonly kind: 'not'; readonly of: Selector }
  | { readonly kind: Field; readonly values: readonly string[] }

const FIELDS = ['tag', 'tier', 'group', 'name'] as const
type Field = (typeof FIELDS)[number]

/** What a selector looks at. */
export type Selectable = Pick<ResolvedTarget, 'name' | 'tier' | 'tags' | 'groups'>

/** Characters of a selector, and how deep it may be nested: enough for people, and bounded for everybody else. */
export const MAX_SELECTOR = 4_000
const MAX_DEPTH = 50
/** Each is tried on every target, in one turn of the event loop; names and tags without a pattern are looked up. */
const MAX_PATTERNS = 100

interface Token {
  readonly text: string
  /** 1 for the first character. */
  readonly at: number
}

/** Reads a selector. Throws MHV_SELECTOR_INVALID, with the place in `details.at` (1 for the first character). */
export function parseSelector(text: string): Selector {
  if (text.length > MAX_SELECTOR) throw invalid(`it is longer than ${MAX_SELECTOR} characters`, MAX_SELECTOR)
  const tokens = [...text.matchAll(/[()]|[^\s()]+/g)].map((match): Token => ({ text: match[0], at: match.index + 1 }))
  const reader = createReader(tokens, text.length + 1)
  const selector = readOr(reader, 0)
  const rest = reader.next()
  checkPatterns(selector)
  if (rest !== undefined) {
    const what = rest.text === ')' ? 'there is no "(" for this ")"' : `"and" or "or" is missing before "${rest.text}"`
    throw invalid(what, rest.at)
  }
  return selector
}

function checkPatterns(selector: Selector): void {
  const count = (each: Selector): number => {
    if ('values' in each) return each.values.filter(isPattern).length
    return [each.of].flat().reduce((sum, part) => sum + count(part), 0)
  }
  if (count(selector) > MAX_PATTERNS) throw invalid(`it has more than ${MAX_PATTERNS} patterns`, 1)
}

function isPattern(value: string): boolean {
  return /[*?\\]/.test(value)
}

/** Which targets the selector takes: worked out once, asked for thousands of them. */
export function matcherOf(selector: Selector): (target: Selectable) => boolean {
  switch (selector.kind) {
    case 'or': {
      const parts = selector.of.map(matcherOf)
      return (target) => parts.some((takes) => takes(target))
    }
    case 'and': {
      const parts = selector.of.map(matcherOf)
      return (target) => parts.every((takes) => takes(target))
    }
    case 'not': {
      const takes = matcherOf(selector.of)
      return (target) => !takes(target)
    }
    default: {
      const { kind, values } = selector
      const literal = new Set(values.filter((value) => !isPattern(value)))
      const patterns = values.filter(isPattern)
      const takes = (each: string) => literal.has(each) || patterns.some((pattern) => matchesPattern(pattern, each))
      return (target) => wordsOf(kind, target).some(takes)
    }
  }
}

function wordsOf(field: Field, { tags, tier, groups, name }: Selectable): readonly string[] {
  return { tag: tags, tier: [tier], group: groups, name: [name] }[field]
}

/** Names of targets that it lists without a pattern: each has to be there, or a typing error would pass unseen. */
export function namedTargets(selector: Selector): readonly string[] {
  switch (selector.kind) {
    case 'or':
    case 'and':
      return [...new Set(selector.of.flatMap(namedTargets))]
    case 'not':
      return namedTargets(selector.of)
    case 'name':
      return selector.values.filter((value) => !isPattern(value))
    default:
      return []
  }
}

interface Reader {
  /** The next word, which stays where it is. */
  peek(): Token | undefined
  next(): Token | undefined
  /** Where the text ends. */
  readonly end: number
}

function createReader(tokens: readonly Token[], end: number): Reader {
  let position = 0
  return {
    end,
    peek: () => tokens[position],
    next: () => tokens[position++],
  }
}

function readOr(reader: Reader, depth: number): Selector {
  return readChain(reader, 'or', () => readChain(reader, 'and', () => readOne(reader, depth)))
}

function readChain(reader: Reader, kind: 'or' | 'and', read: () => Selector): Selector {
  const first = read()
  const of = [first]
  while (reader.peek()?.text === kind) {
    reader.next()
    of.push(read())
  }
  return of.length === 1 ? first : { kind, of }
}

function readOne(reader: Reader, depth: number): Selector {
  const token = reader.next()
  if (token === undefined) throw invalid('a term is missing at the end', reader.end)
  if (depth > MAX_DEPTH) throw invalid(`it is nested deeper than ${MAX_DEPTH} levels`, token.at)
  if (token.text === 'not') return { kind: 'not', of: readOne(reader, depth + 1) }
  if (token.text === '(') {
    const inner = readOr(reader, depth + 1)
    const close = reader.next()
    if (close?.text === ')') return inner
    if (close === undefined) throw invalid(`the "(" at character ${token.at} is not closed`, reader.end)
    throw invalid(`"and" or "or" is missing before "${close.text}"`, close.at)
  }
  if (['and', 'or', ')'].includes(token.text)) throw invalid(`a term is missing before "${token.text}"`, token.at)
  return readTerm(token)
}

function readTerm({ text, at }: Token): Selector {
  const colon = text.indexOf(':')
  const word = colon === -1 ? 'name' : text.slice(0, colon)
  const kind = FIELDS.find((field) => field === word)
  if (kind === undefined)
    throw invalid(`there is no "${word}:"; there are ${FIELDS.map((each) => `${each}:`).join(', ')}`, at)
  const values = text.slice(colon + 1).split(',')
  if (values.includes('')) throw invalid(`a value is missing in "${text}"`, at)
  if (kind === 'tier') {
    const stranger = values.find((value) => !(TIERS as readonly string[]).includes(value))
    if (stranger !== undefined) throw invalid(`there is no tier "${stranger}"; there are ${TIERS.join(', ')}`, at)
  }
  return { kind, values }
}

function invalid(problem: string, at: number): MhvError {
  return mhvError('MHV_SELECTOR_INVALID', `select, character ${at}: ${problem}`, { details: { at } })
}
