import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { inRoot } from '../../scripts/lib/paths.ts'
import { holdsOnlyTypes, isMeasured, keepOwnCounters } from '../../scripts/test/coverage.ts'
import { allTestFiles } from '../../scripts/test/discover.ts'

describe('coverage', () => {
  test('a file of which nothing is left at run time is not counted', () => {
    assert.equal(holdsOnlyTypes("import type { A } from './a.ts'\n/** B */\nexport interface B extends A {}\n"), true)
    assert.equal(holdsOnlyTypes("export type { A } from './a.ts'\nexport type C = string // text\n"), true)
    assert.equal(holdsOnlyTypes('export interface B {}\nexport const b = 1\n'), false)
    assert.equal(holdsOnlyTypes("export * from './a.ts'\n"), false)
    assert.equal(holdsOnlyTypes('const b = 1\nb.toString()\n'), false)
    assert.equal(holdsOnlyTypes('/**\n * export const inAComment = 1\n */\nexport type D = string\n'), true)
  })

  test('the files that are not measured are there, and nearly all are measured', () => {
    const files = allTestFiles()
    const left = files.filter((file) => !isMeasured(file))
    assert.ok(left.length > 0 && left.length < files.length / 5, left.join('\n'))
    assert.ok(left.includes('test/e2e/cli-every-command.test.ts') && left.includes('test/e2e/docs-blocks.test.ts'))
    assert.equal(isMeasured('src/core/errors.test.ts'), true)
  })

  test('only counters of src are kept, and one that was cut off does no harm', () => {
    const folder = mkdtempSync(join(tmpdir(), 'mahavishnu-counters-'))
    const [from, to] = [join(folder, 'file-1'), join(folder, 'own')]
    mkdirSync(from)
    const script = (url: string) => ({ url, functions: [] })
    const own = script(pathToFileURL(inRoot('src/core/a.ts')).href)
    const others = [script('file:///somewhere/else.js'), script(pathToFileURL(inRoot('src/core/a.test.ts')).href)]
    writeFileSync(join(from, 'one.json'), JSON.stringify({ result: [own, ...others], timestamp: 1 }))
    writeFileSync(join(from, 'none.json'), JSON.stringify({ result: others }))
    writeFileSync(join(from, 'cut.json'), '{ "result": [')
    keepOwnCounters(from, to)
    assert.deepEqual(readdirSync(to), ['file-1-one.json'])
    assert.deepEqual(JSON.parse(readFileSync(join(to, 'file-1-one.json'), 'utf8')), { result: [own] })
    assert.equal(existsSync(from), false)
    rmSync(folder, { recursive: true })
  })

  test('branches of a function are told apart, though it was compiled by an earlier process', () => {
    const folder = mkdtempSync(join(tmpdir(), 'mahavishnu-compiled-'))
    const counters = join(folder, 'counters')
    const source = "export function pick(left: boolean): string {\n  if (left) return 'left'\n  return 'right'\n}\n"
    writeFileSync(join(folder, 'pick.mts'), source)
    const main =
      "import { pick } from './pick.mts'\nconst side: string = pick(process.argv[2] === 'left')\nconsole.log(side)\n"
    writeFileSync(join(folder, 'main.mts'), main)
    const run = (side: string, more = {}) => {
      const env = { ...process.env, NODE_V8_COVERAGE: '', NODE_COMPILE_CACHE: join(folder, 'compiled'), ...more }
      return spawnSync(process.execPath, [join(folder, 'main.mts'), side], { env, encoding: 'utf8' }).stdout
    }
    assert.equal(run('left'), 'left\n')
    assert.ok(readdirSync(join(folder, 'compiled'), { recursive: true }).length > 2)
    assert.equal(run('right', { NODE_V8_COVERAGE: counters }), 'right\n')

    const [file = ''] = readdirSync(counters)
    const { result } = JSON.parse(readFileSync(join(counters, file), 'utf8')) as { result: ScriptCounters[] }
    const picked = result.find(({ url }) => url.endsWith('/pick.mts'))
    const { ranges } =
      picked?.functions.find(({ functionName }) => functionName === 'pick') ?? assert.fail('not counted')
    const notRun = ranges.filter(({ count }) => count === 0)
    assert.deepEqual(
      notRun.map(({ startOffset, endOffset }) => source.slice(startOffset, endOffset)),
      ["return 'left'"],
    )
    rmSync(folder, { recursive: true })
  })
})

/** What V8 writes of one file. */
interface ScriptCounters {
  readonly url: string
  readonly functions: readonly {
    readonly functionName: string
    readonly ranges: readonly { readonly startOffset: number; readonly endOffset: number; readonly count: number }[]
  }[]
}
