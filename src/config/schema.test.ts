import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { demo, registry, ssh } from '../../test/fixtures/config/workers.ts'
import type { AnyWorker } from '../core/worker.ts'
import { CORE_SECTIONS, settingFields, settingsSchema, workerSettingsSchema } from './schema.ts'

const withWorker = (worker: object) => ({ workers: [{ ...demo, ...worker } as AnyWorker] })

test('every setting has a description, and a default or the right to be left out', () => {
  for (const field of settingFields(registry)) {
    assert.notEqual(field.description, '', field.key)
    assert.equal(z.safeParse(field.schema, undefined).success, true, field.key)
    assert.notEqual(field.type, 'a value', field.key)
  }
})

test('a worker’s own rules stay when the common settings are added', () => {
  const schema = workerSettingsSchema(demo)
  const section = { nested: { deep: {} } }
  assert.equal(schema.safeParse({ ...section, least: 1, most: 2 }).success, true)
  assert.equal(schema.safeParse({ ...section, least: 3, most: 2 }).success, false)
})

test('breakers start from what the worker declares', () => {
  const defaults = (worker: AnyWorker) =>
    (z.parse(workerSettingsSchema(worker), {}) as { circuit_breaker: object }).circuit_breaker
  const ours = { window_seconds: 60, minimum_calls: 1, failure_ratio: 0.5, success_threshold: 1 }
  assert.deepEqual(defaults(ssh), { ...ours, ...ssh.breaker })
  const breaker = { ...ssh.breaker, window_seconds: 7, minimum_calls: 8, failure_ratio: 0.9, success_threshold: 10 }
  assert.deepEqual(defaults({ ...ssh, breaker }), breaker)
})

test('declarations that cannot become settings are defects, found at start', () => {
  assert.throws(() => settingsSchema(withWorker({ name: CORE_SECTIONS[1] })), /may not be called/)
  assert.throws(
    () => settingsSchema(withWorker({ settings: z.object({ admission: z.string() }) })),
    /that every worker has/,
  )
  for (const name of ['maxConnections', 'a__b', '_a', 'a-b', 'a_']) {
    const settings = z.object({ [name]: z.string().default('') })
    assert.throws(() => settingsSchema(withWorker({ settings })), /must be named like/, name)
  }
})

test('types are told in words', () => {
  const words = Object.fromEntries(settingFields(registry).map((field) => [field.key, field.type]))
  assert.equal(words['demo.least'], 'a whole number from 0 to 1000')
  assert.equal(words['demo.ratio'], 'a number from 0 to 1')
  assert.equal(words['demo.enabled'], 'true or false')
  assert.equal(words['demo.label'], 'text of at most 20 characters')
  assert.equal(words['demo.mode'], 'one of fast, safe')
  assert.equal(words['demo.brokers'], 'a map to text')
  assert.equal(words['demo.limit'], 'a number, or null')
  assert.equal(words['demo.nested.deep.level'], 'a whole number')
  assert.match(words['demo.token'] ?? '', /^a reference to a secret/)
  assert.equal(words['demo.agent'], 'true or false, or text')
})
