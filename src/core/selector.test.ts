import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { MhvError } from './errors.ts'
import { matcherOf, namedTargets, parseSelector, type Selectable, type Selector } from './selector.ts'

const FLEET: readonly Selectable[] = [
  { name: 'web-1', tier: 'dev', tags: ['web'], groups: ['eu'] },
  { name: 'web-2', tier: 'prod', tags: ['web', 'pci'], groups: ['us'] },
  { name: 'db-1', tier: 'prod', tags: ['db'], groups: ['eu'] },
  { name: 'db-2', tier: 'staging', tags: ['db'], groups: [] },
]

function taken(text: string): string {
  const takes = matcherOf(parseSelector(text))
  return FLEET.filter(takes)
    .map(({ name }) => name)
    .join(' ')
}

suite('what a selector takes', () => {
  const rows = [
    ['*', 'web-1 web-2 db-1 db-2'],
    ['web-?', 'web-1 web-2'],
    ['web-1,db-2', 'web-1 db-2'],
    ['name:web-1', 'web-1'],
    ['tag:web', 'web-1 web-2'],
    ['tag:web and not tier:prod', 'web-1'],
    ['not tag:web and tier:prod', 'db-1'],
    ['tag:pci,db', 'web-2 db-1 db-2'],
    ['group:eu', 'web-1 db-1'],
    ['group:e*', 'web-1 db-1'],
    ['tier:dev or tier:staging', 'web-1 db-2'],
    ['tier:dev or tier:prod and tag:db', 'web-1 db-1'],
    ['(tier:dev or tier:prod) and tag:db', 'db-1'],
    ['not (tag:web or group:eu)', 'db-2'],
    ['not not tag:web', 'web-1 web-2'],
    ['not tag:web or tier:dev', 'web-1 db-1 db-2'],
    ['( web-1 )', 'web-1'],
    ['tag:none', ''],
  ] as const
  for (const [text, names] of rows) test(`${text} takes ${names || 'nothing'}`, () => assert.equal(taken(text), names))

  test('names without a pattern are told apart, wherever they stand', () => {
    assert.deepEqual(namedTargets(parseSelector('web-1,db-* or not (name:db-9 and tag:x)')), ['web-1', 'db-9'])
  })
})

suite('what is no selector says where', () => {
  const rows = [
    ['', 1, 'a term is missing at the end'],
    ['tag:web and', 12, 'a term is missing at the end'],
    ['and tag:web', 1, 'a term is missing before "and"'],
    ['tag:web tag:db', 9, '"and" or "or" is missing before "tag:db"'],
    ['(tag:web', 9, 'the "(" at character 1 is not closed'],
    ['tag:web)', 8, 'there is no "(" for this ")"'],
    ['(web-1 db-1)', 8, '"and" or "or" is missing before "db-1"'],
    ['()', 2, 'a term is missing before ")"'],
    ['tags:web', 1, 'there is no "tags:"; there are tag:, tier:, group:, name:'],
    ['tag:', 1, 'a value is missing in "tag:"'],
    ['web-1,', 1, 'a value is missing in "web-1,"'],
    ['tier:test', 1, 'there is no tier "test"; there are dev, staging, prod'],
    ['('.repeat(60), 52, 'it is nested deeper than 50 levels'],
    [Array.from({ length: 101 }, (_, index) => `*${index}`).join(','), 1, 'it has more than 100 patterns'],
    ['x'.repeat(4_001), 4_000, 'it is longer than 4000 characters'],
  ] as const
  for (const [text, at, problem] of rows) {
    test(`${text.slice(0, 30) || 'nothing'}: ${problem}`, () => {
      assert.throws(
        () => parseSelector(text),
        (error: MhvError) => {
          assert.equal(error.code, 'MHV_SELECTOR_INVALID')
          assert.deepEqual(error.details, { at })
          assert.equal(error.message, `select, character ${at}: ${problem}`)
          return true
        },
      )
    })
  }
})

const word = fc.constantFrom('web-1', 'web-*', '?b-1', 'eu', 'db', 'pci')
const term: fc.Arbitrary<Selector> = fc.oneof(
  fc.record({ kind: fc.constantFrom('tag', 'group', 'name'), values: fc.array(word, { minLength: 1, maxLength: 3 }) }),
  fc.record({ kind: fc.constant('tier' as const), values: fc.array(fc.constantFrom('dev', 'prod'), { minLength: 1 }) }),
)
const { selector } = fc.letrec<{ selector: Selector }>((tie) => ({
  selector: fc.oneof(
    { maxDepth: 6, withCrossShrink: true },
    term,
    tie('selector').map((of): Selector => ({ kind: 'not', of })),
    fc.record({
      kind: fc.constantFrom('and', 'or'),
      of: fc.array(tie('selector'), { minLength: 2, maxLength: 3 }),
    }),
  ),
}))

/** With only those parentheses that the precedence asks for. */
function printed(each: Selector, within: 'or' | 'and' | 'not' = 'or'): string {
  if ('values' in each) return `${each.kind}:${each.values.join(',')}`
  if (each.kind === 'not') return `not ${printed(each.of, 'not')}`
  const { kind } = each
  const text = each.of.map((part) => printed(part, kind)).join(` ${kind} `)
  return within === 'or' || (within === 'and' && kind === 'and') ? text : `(${text})`
}

/** What it means, read off the tree without the code under test. */
function means(each: Selector, target: Selectable): boolean {
  if ('values' in each) {
    const has = { tag: target.tags, tier: [target.tier], group: target.groups, name: [target.name] }[each.kind]
    const patterns = each.values.map((value) => new RegExp(`^${value.replaceAll('*', '.*').replaceAll('?', '.')}$`))
    return patterns.some((pattern) => has.some((one) => pattern.test(one)))
  }
  if (each.kind === 'not') return !means(each.of, target)
  if (each.kind === 'or') return each.of.reduce((found, part) => found || means(part, target), false)
  return each.of.reduce((found, part) => found && means(part, target), true)
}

test('a selector means what its tree means: not before and before or', () => {
  fc.assert(
    fc.property(selector, (tree) => {
      const read = parseSelector(printed(tree))
      const takes = matcherOf(read)
      for (const target of FLEET) assert.equal(takes(target), means(tree, target), printed(tree))
    }),
    { numRuns: 500 },
  )
})

test('any text is a selector, or is refused with a place within it', () => {
  const piece = fc.constantFrom('(', ')', ' ', 'and', 'or', 'not', 'tag:', 'tier:', 'prod', ',', '*', 'x', '\n', ':')
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(piece).map((pieces) => pieces.join('')),
  )
  fc.assert(
    fc.property(text, (given) => {
      try {
        parseSelector(given)
      } catch (error) {
        const { code, details } = error as MhvError
        assert.equal(code, 'MHV_SELECTOR_INVALID')
        const at = Number(details?.at)
        assert.ok(at >= 1 && at <= given.length + 1, `${at} of ${given.length}`)
      }
    }),
    { numRuns: 1_000 },
  )
})
