import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import { type CheckReport, checkPartial, unknownKeyMessage } from './check.ts'
import type { Problem } from './problems.ts'
import { fromJson } from './source.ts'

function check(schema: z.ZodType, value: unknown): string[] {
  const problems: Problem[] = []
  const report: CheckReport = {
    invalid: 'MHV_CONFIG_INVALID',
    unknownKey: (path, { place }, known) => [
      { code: 'MHV_CONFIG_UNKNOWN_KEY', message: unknownKeyMessage(path, known), place },
    ],
    add: (problem) => problems.push(problem),
  }
  checkPartial(schema, fromJson(value, { file: 'x' }), [], report)
  return problems.map(({ message }) => message)
}

test('a layer is partial: what is missing is no problem, what is in a list must be whole', () => {
  const schema = z.object({ a: z.string(), list: z.array(z.object({ b: z.string(), c: z.string().optional() })) })
  assert.deepEqual(check(schema, {}), [])
  assert.deepEqual(check(schema, { list: [{ b: 'x' }] }), [])
  assert.deepEqual(check(schema, { list: [{ c: 'x' }] }), ['list.0.b is missing: it must be text'])
})

test('unknown keys are found behind defaults, nulls, lists and maps, and passed where a section is open', () => {
  const inner = z.object({ known: z.string().optional() })
  const cases: [z.ZodType, unknown][] = [
    [inner.optional(), { unkown: 1 }],
    [inner.prefault({}), { unkown: 1 }],
    [inner.nullable().default(null), { unkown: 1 }],
    [inner.readonly(), { unkown: 1 }],
    [z.array(inner), [{}, { unkown: 1 }]],
    [z.record(z.string(), inner), { a: { unkown: 1 } }],
    [z.record(z.string(), z.array(inner)), { a: [{ unkown: 1 }] }],
  ]
  for (const [schema, value] of cases) {
    const [message, ...more] = check(z.object({ field: schema }), { field: value })
    assert.match(message ?? '', /there is no "field\.(.*\.)?unkown"; did you mean "known"/)
    assert.deepEqual(more, [])
  }
  assert.deepEqual(check(z.object({ field: z.looseObject({ known: z.string() }) }), { field: { other: 1 } }), [])
})

test('the message of a schema’s author is used, unless it repeats the value', () => {
  const says = (error: string) => z.object({ field: z.string().regex(/^a/, { error }) })
  assert.deepEqual(check(says('must begin with an a'), { field: 'hunter2' }), ['field must begin with an a'])
  const [message] = check(says('hunter2 is wrong'), { field: 'hunter2' })
  assert.equal(message, 'field must be text that matches ^a')
  const nested = z.object({ field: z.array(z.string()).refine(() => false, { error: 'no hunter2 here' }) })
  assert.deepEqual(check(nested, { field: ['hunter2'] }), ['field must be a list of text'])
})

test('a key that may be a value is not shown', () => {
  const messages = check(z.object({ password: z.string() }), {
    'password: hunter2': 1,
    'hunter2 hunter2': 1,
    pasword: 1,
  })
  assert.deepEqual(messages, [
    'there is a key that is not a name',
    'there is a key that is not a name',
    'there is no "pasword"; did you mean "password"?',
  ])
})

test('keys of a map are checked by its own rule', () => {
  const schema = z.object({
    hosts: z.record(z.string().regex(/^[a-z]+$/, { error: 'must be small letters' }), z.number()),
  })
  assert.deepEqual(check(schema, { hosts: { ok: 1, 'Not ok': 2, x: 'y' } }), [
    'a key of hosts must be small letters',
    'hosts.x must be a number, not text',
  ])
})
