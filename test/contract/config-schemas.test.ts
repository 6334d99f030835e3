import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { settingFields } from '../../src/config/schema.ts'
import { createRegistry } from '../../src/core/registry.ts'
import { workers } from '../../src/workers/index.ts'

interface Json {
  readonly properties?: Readonly<Record<string, Json>>
  readonly additionalProperties?: Json | boolean
  readonly required?: readonly string[]
  readonly description?: string
}

const root = join(import.meta.dirname, '..', '..')
const registry = createRegistry(workers)
const settings: Json = JSON.parse(readFileSync(join(root, 'schema', 'settings.schema.json'), 'utf8'))
const inventory: Json = JSON.parse(readFileSync(join(root, 'schema', 'inventory.schema.json'), 'utf8'))
const page = readFileSync(join(root, 'docs', 'reference', 'settings.md'), 'utf8')

test('every worker’s settings have names, defaults and descriptions', () => {
  for (const field of settingFields(registry)) assert.notEqual(field.description, '', field.key)
})

test('the editors’ schema has every setting with its description, and refuses what it does not have', () => {
  for (const { key, path, description } of settingFields(registry)) {
    let section: Json | undefined = settings
    for (const part of path) {
      assert.equal(section?.additionalProperties, false, key)
      assert.deepEqual(section?.required ?? [], [], `${key}: a layer is partial`)
      section = section?.properties?.[part]
    }
    assert.equal(section?.description, description, key)
  }
})

test('the editors’ schema of the inventory has every worker’s fields in targets, groups and defaults', () => {
  const { targets, groups, defaults } = inventory.properties ?? {}
  for (const worker of workers) {
    for (const block of [targets?.additionalProperties, groups?.additionalProperties, defaults]) {
      const fields = typeof block === 'object' ? block.properties?.[worker.name] : undefined
      assert.deepEqual(Object.keys(fields?.properties ?? {}), [...Object.keys(worker.target.shape), 'overrides'])
      assert.equal(fields?.additionalProperties, false)
      assert.deepEqual(fields?.required ?? [], [])
    }
  }
})

test('the reference page has every setting and its variable', () => {
  for (const { key, env } of settingFields(registry)) {
    assert.ok(page.includes(`| \`${key}\` |`), key)
    if (env !== undefined) assert.ok(page.includes(`\`${env}\``), env)
  }
})
