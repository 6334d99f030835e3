import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { deriveAll, replaceRegion, writeDerived } from '../../scripts/gen/generator.ts'
import { inRoot } from '../../scripts/lib/paths.ts'
import { scriptTable } from '../../scripts/script-table.ts'

const root = mkdtempSync(join(tmpdir(), 'mahavishnu-gen-'))
after(() => rmSync(root, { recursive: true }))

describe('derived files', () => {
  test('are stale until they are written', async () => {
    const generators = [{ path: 'docs/new/page.md', render: () => 'text' }]
    const before = await deriveAll(generators, root)
    assert.deepEqual(before, [{ path: 'docs/new/page.md', stale: true, text: 'text\n' }])
    writeDerived(before, root)
    assert.equal(readFileSync(join(root, 'docs/new/page.md'), 'utf8'), 'text\n')
    assert.equal((await deriveAll(generators, root))[0]?.stale, false)
  })

  test('two regions of one file are both replaced, and what is around them stays', async () => {
    writeFileSync(
      join(root, 'README.md'),
      'a\n<!-- gen:x -->\nold\n<!-- /gen:x -->\nb\n<!-- gen:y --><!-- /gen:y -->\nc\n',
    )
    const generators = ['x', 'y'].map((region) => ({ path: 'README.md', region, render: async () => `new ${region}` }))
    const [derived, ...others] = await deriveAll(generators, root)
    assert.equal(others.length, 0)
    assert.equal(
      derived?.text,
      'a\n<!-- gen:x -->\nnew x\n<!-- /gen:x -->\nb\n<!-- gen:y -->\nnew y\n<!-- /gen:y -->\nc\n',
    )
  })

  test('a region whose marks are missing or doubled is an error that names the file', async () => {
    await assert.rejects(
      deriveAll([{ path: 'none.md', region: 'x', render: () => '' }], root),
      /none\.md: needs <!-- gen:x -->/,
    )
    const doubled = '<!-- gen:x --><!-- /gen:x --><!-- gen:x --><!-- /gen:x -->'
    assert.throws(() => replaceRegion(doubled, 'x', ''), /once each/)
  })

  test('the table of scripts names exactly the scripts of package.json, and each of them exists', () => {
    const { scripts } = JSON.parse(readFileSync(inRoot('package.json'), 'utf8'))
    assert.deepEqual(scriptTable.map(({ name }) => name).sort(), Object.keys(scripts).sort())
    for (const [name, command] of Object.entries(scripts)) {
      const [, target] = /^node scripts\/bootstrap\.mjs (\w+)$/.exec(String(command)) ?? []
      assert.ok(target === 'build' || existsSync(inRoot(`scripts/${target}.ts`)), `${name}: scripts/${target}.ts`)
    }
  })
})
