import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { parse } from 'yaml'
import { loadInventory } from '../../src/config/inventory.ts'
import { loadSettings } from '../../src/config/layers.ts'
import { settingFields } from '../../src/config/schema.ts'
import { LATER_WORKERS, SEED_KEYS, seedKey } from '../../src/config/seed-keys.ts'
import type { MhvError } from '../../src/core/errors.ts'
import { instanceFolder, sshOnly } from '../fixtures/config/workers.ts'

const folder = join(import.meta.dirname, '..', 'fixtures', 'config', 'seeds')
const blocks = readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), 'utf8')] as const)

/** Every key of a block with its value; a list is a value, a map is not. */
function leaves(value: unknown, path: readonly string[] = []): [string[], unknown][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [[[...path], value]]
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, [...path, key]))
}

const keys = blocks.flatMap(([name, yaml]) => leaves(parse(yaml)).map(([path, value]) => ({ name, path, value })))

function nest(path: readonly string[], value: unknown): unknown {
  return path.reduceRight((inner, key) => ({ [key]: inner }), value)
}

async function answer(yaml: string) {
  const instance = instanceFolder({ 'settings/mahavishnu.yaml': yaml })
  return loadSettings({ folder: instance, registry: sshOnly, env: {}, flags: [] }).then(
    (loaded) => ({ loaded, codes: [] as string[], messages: [] as string[] }),
    (error: MhvError) => {
      const problems = error.details?.['problems'] as { code: string; message: string; line: number }[]
      assert.ok(problems.every((problem) => problem.line >= 1))
      return {
        loaded: undefined,
        codes: problems.map(({ code }) => code),
        messages: problems.map(({ message }) => message),
      }
    },
  )
}

const CODES = { accepted: [], renamed: ['MHV_CONFIG_RENAMED'], 'not-available': ['MHV_CONFIG_NOT_AVAILABLE'] }

test('there are blocks, and each of them is YAML with keys', () => {
  assert.ok(blocks.length >= 9)
  assert.equal(keys.length, 129)
})

test('every key of the design documents’ YAML is accepted, refused with its new name, or known and not available yet', async () => {
  for (const { name, path, value } of keys) {
    const row = seedKey(path)
    // Objectives and recovery plans have a row for each of them, not for each of their fields.
    const own = path[0] === 'slos' || path[0] === 'disaster_recovery' ? path.slice(0, 2) : path
    assert.ok(row && SEED_KEYS.has(own.join('.')), `${name}: ${path.join('.')} is not in the table`)
    const { loaded, codes, messages } = await answer(JSON.stringify(nest(path, value)))
    assert.deepEqual(codes, CODES[row.is], path.join('.'))
    if (row.is === 'renamed') assert.ok(messages[0]?.includes(row.to), messages[0])
    if (row.is !== 'accepted') continue
    const taken = path.reduce<unknown>((inner, key) => (inner as Record<string, unknown>)[key], loaded?.values)
    assert.deepEqual(taken, value, path.join('.'))
  }
})

test('each block as it is written is answered for all its keys at once', async () => {
  for (const [name, yaml] of blocks) {
    const { codes } = await answer(yaml)
    assert.deepEqual(
      codes.filter((code) => !/RENAMED|NOT_AVAILABLE/.test(code)),
      [],
      name,
    )
    const taken = leaves(parse(yaml)).every(([path]) => seedKey(path)?.is === 'accepted')
    assert.equal(codes.length === 0, taken, name)
  }
})

test('the table has no row that no block has, and every row for keys of a later worker has its section', () => {
  const written = new Set(keys.flatMap(({ path }) => path.map((_, index) => path.slice(0, index + 1).join('.'))))
  const extra = [...SEED_KEYS.keys()].filter((key) => !written.has(key) && !LATER_WORKERS.includes(key))
  assert.deepEqual(extra, [])
})

test('a new name is a setting there is, or a field of a target there is', async () => {
  const settings = settingFields(sshOnly).map((field) => field.key)
  for (const [key, row] of SEED_KEYS) {
    if (row.is === 'accepted') assert.ok(settings.includes(key), key)
    else assert.ok(!settings.includes(key), key)
    if (row.is !== 'renamed') continue
    if (!row.to.startsWith('targets.')) assert.ok(settings.includes(row.to), row.to)
    else assert.ok(Object.hasOwn(sshOnly.worker('ssh').target.shape, row.to.split('.').at(-1) as string), row.to)
  }
})

test('the combined block, written as it is called here, loads', async () => {
  const instance = instanceFolder({
    'settings/mahavishnu.yaml': 'ssh: {max_connections_per_host: 5}',
    'settings/inventory.yaml':
      'version: 1\ntargets: {server: {ssh: {host: server.example.com, user: admin, identity_files: [~/.ssh/id_rsa]}}}',
  })
  await loadSettings({ folder: instance, registry: sshOnly, env: {}, flags: [] })
  const inventory = await loadInventory({ file: join(instance, 'settings', 'inventory.yaml'), registry: sshOnly })
  assert.equal(inventory.resolve('server', 'ssh').target.tier, 'prod')
})
