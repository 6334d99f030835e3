import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'node:test'

/** Everything that a module loads, itself and through others; of packages and Node's own modules the names. */
function loadedBy(entry: string): { readonly files: ReadonlySet<string>; readonly packages: ReadonlySet<string> } {
  const files = new Set<string>()
  const packages = new Set<string>()
  const visit = (file: string) => {
    if (files.has(file)) return
    files.add(file)
    const text = readFileSync(file, 'utf8')
    for (const [, types, name = ''] of text.matchAll(
      /^(?:import|export)( type)?\b[^'\n]*?(?:\{[^}]*\} )?from '([^']+)'/gm,
    )) {
      if (types !== undefined) continue
      if (name.startsWith('.')) visit(join(dirname(file), name))
      else packages.add(name)
    }
  }
  visit(join(import.meta.dirname, entry))
  return { files, packages }
}

/** Packages of a few kilobytes. */
const SMALL: readonly string[] = ['ulid']

for (const entry of ['sqlite-writer.ts', 'sqlite-reader.ts']) {
  test(`${entry} loads nothing large: a thread has its own copy of everything, and zod alone takes 12 MB`, () => {
    const { files, packages } = loadedBy(entry)
    assert.ok(files.size > 5, 'the imports were found')
    const large = [...packages].filter((name) => !name.startsWith('node:') && !SMALL.includes(name))
    assert.deepEqual(large, [])
  })
}

test('a package that is loaded in a roundabout way is found', () => {
  assert.ok(loadedBy('../core/registry.ts').packages.has('zod'))
})
