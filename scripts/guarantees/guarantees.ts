/**
 * Promises with an id, and the tests that cite them.
 *
 * `docs/guarantees.md` has one table row per promise: `| SSH-03 | a plain sentence |`. A test cites promises
 * anywhere in its title or its suite's, best in front: `test('SSH-03: refuses a changed host key', …)`.
 */
import { globSync, readFileSync } from 'node:fs'
import { inRoot, root } from '../lib/paths.ts'
import type { TestResult } from '../test/results.ts'

/** A promise of `docs/guarantees.md`. */
export interface Guarantee {
  readonly id: string
  readonly sentence: string
}

/** A test or suite title as it stands in a source file. */
export interface ScannedTitle {
  readonly file: string
  readonly title: string
}

export type LastResult = TestResult['status'] | 'not run'

/** A test that cites a promise, with its last result. */
export interface CitingTest extends ScannedTitle {
  readonly status: LastResult
}

/** A promise with everything known about it. */
export interface GuaranteeReport extends Guarantee {
  readonly tests: readonly CitingTest[]
  readonly result: LastResult
}

const idPattern = '[A-Z][A-Z0-9]{1,9}-[0-9]{2}'
const row = new RegExp(`^\\|\\s*(${idPattern})\\s*\\|\\s*(.*?)\\s*\\|`)
const idInTitle = new RegExp(`(?<![\\w-])${idPattern}(?![\\w-])`, 'g')
/** Ids in front and ended by a colon are meant as ids, whatever their letters: `UTF-16 names` is none, `SHS-03: …` is. */
const leadingIds = new RegExp(`^(?:${idPattern}[ ,]+)*${idPattern}:`)

/** Reads the promises; throws on an id that stands there twice. */
export function parseGuarantees(markdown: string): readonly Guarantee[] {
  const found = new Map<string, Guarantee>()
  for (const line of markdown.split('\n')) {
    const [, id, sentence = ''] = row.exec(line) ?? []
    if (id === undefined) continue
    if (found.has(id)) throw new Error(`docs/guarantees.md: ${id} stands there twice`)
    found.set(id, { id, sentence })
  }
  return [...found.values()]
}

/** Reads `docs/guarantees.md`; none while there is no such file. */
export function readGuarantees(): readonly Guarantee[] {
  const file = inRoot('docs/guarantees.md')
  return globSync(file).length === 0 ? [] : parseGuarantees(readFileSync(file, 'utf8'))
}

/** The ids that a title (with its suites, joined by ` > `) cites; of unknown areas only those meant as ids. */
export function citedIds(title: string, guarantees: readonly Guarantee[]): readonly string[] {
  const areas = new Set(guarantees.map(({ id }) => areaOf(id)))
  const cited = title.split(' > ').flatMap((part) => {
    const ids = part.match(idInTitle) ?? []
    const leading = leadingIds.exec(part)?.[0] ?? ''
    return ids.filter((id) => areas.has(areaOf(id)) || leading.includes(id))
  })
  return [...new Set(cited)]
}

function areaOf(id: string): string {
  return id.slice(0, id.lastIndexOf('-'))
}

const titleCall = /\b(?:test|it|describe|suite)(?:\.\w+)?\(\s*(['"`])((?:\\.|(?!\1)[^\\])*)\1/g

/** The titles in a source text, as written: a template's `${…}` stays. */
export function titlesIn(source: string): readonly string[] {
  return [...source.matchAll(titleCall)].map(([, , title = '']) => title)
}

/** Every title in the test files and contract suites of the checkout. */
export function scanTitles(): readonly ScannedTitle[] {
  const files = globSync(['src/**/*.test.ts', 'src/testing/**/*.ts', 'test/**/*.ts'], { cwd: root }).sort()
  return files.flatMap((file) => titlesIn(readFileSync(inRoot(file), 'utf8')).map((title) => ({ file, title })))
}

function combine(statuses: readonly LastResult[]): LastResult {
  const order: readonly LastResult[] = ['failed', 'passed', 'skipped']
  return order.find((status) => statuses.includes(status)) ?? 'not run'
}

/** Joins promises, the last results, and titles in sources that have no result yet. */
export function reportGuarantees(
  guarantees: readonly Guarantee[],
  results: readonly TestResult[],
  scanned: readonly ScannedTitle[],
): readonly GuaranteeReport[] {
  const ran = new Set(results.flatMap(({ title }) => title.split(' > ')))
  const known: CitingTest[] = [
    ...results.map(({ file, title, status }) => ({ file, title, status })),
    ...scanned.filter(({ title }) => !ran.has(title)).map((one) => ({ ...one, status: 'not run' as const })),
  ]
  return guarantees.map((guarantee) => {
    const tests = known.filter(({ title }) => citedIds(title, guarantees).includes(guarantee.id))
    return { ...guarantee, tests, result: combine(tests.map(({ status }) => status)) }
  })
}

/** What is wrong after a whole run: promises without a test, and citations of promises that nobody made. */
export function guaranteeProblems(guarantees: readonly Guarantee[], results: readonly TestResult[]): readonly string[] {
  const known = new Set(guarantees.map(({ id }) => id))
  const cited = new Set(results.flatMap(({ title }) => citedIds(title, guarantees)))
  const untested = guarantees.filter(({ id }) => !cited.has(id)).map(({ id }) => `${id}: no test cites it`)
  const unknown = results.flatMap(({ file, title }) =>
    citedIds(title, guarantees)
      .filter((id) => !known.has(id))
      .map((id) => `${id}: cited by ${file} ("${title}"), but docs/guarantees.md does not have it`),
  )
  return [...untested, ...new Set(unknown)]
}
