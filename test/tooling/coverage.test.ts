import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { inRoot } from '../../scripts/lib/paths.ts'
import { holdsOnlyTypes, keepOwnCounters } from '../../scripts/test/coverage.ts'

describe('coverage', () => {
  test('a file of which nothing is left at run time is not counted', () => {
    assert.equal(holdsOnlyTypes("import type { A } from './a.ts'\n/** B */\nexport interface B extends A {}\n"), true)
    assert.equal(holdsOnlyTypes("export type { A } from './a.ts'\nexport type C = string // text\n"), true)
    assert.equal(holdsOnlyTypes('export interface B {}\nexport const b = 1\n'), false)
    assert.equal(holdsOnlyTypes("export * from './a.ts'\n"), false)
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
})
