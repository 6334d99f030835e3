import assert from 'node:assert/strict'
import { test } from 'node:test'
import { z } from 'zod'
import type { SecretReference } from './context.ts'
import { describeReference, parseSecretReference, SECRET_MARK, secretReference } from './secret-reference.ts'

test('references are taken apart, and shown without the arguments of a program', () => {
  const cases: [SecretReference, object, string][] = [
    ['env:API_TOKEN', { kind: 'env', name: 'API_TOKEN' }, 'env:API_TOKEN'],
    ['file:secrets/a b', { kind: 'file', path: 'secrets/a b' }, 'file:secrets/a b'],
    ['exec:pass  show\tdb', { kind: 'exec', argv: ['pass', 'show', 'db'] }, 'exec:pass'],
    ['exec: pass show', { kind: 'exec', argv: ['pass', 'show'] }, 'exec:pass'],
    [{ exec: ['op', 'read', 'a b', ''] }, { kind: 'exec', argv: ['op', 'read', 'a b', ''] }, 'exec:op'],
  ]
  for (const [reference, parsed, shown] of cases) {
    assert.deepEqual(parseSecretReference(reference), parsed)
    assert.equal(describeReference(reference), shown)
    assert.equal(secretReference().safeParse(reference).success, true)
  }
})

test('what is no reference is refused without being repeated', () => {
  const wrong = [
    'hunter2',
    'env:hunter2 x',
    'env:',
    'env:1',
    'file:',
    'file:a\0hunter2',
    'file:a\nhunter2',
    'exec:',
    'exec: \t',
    'exec:-hunter2',
    'vault:hunter2',
    { exec: [] },
    { exec: ['-hunter2'] },
    { exec: ['a', 'hunter2\0'] },
    { exec: 'hunter2' },
    { exec: ['a'], hunter2: 1 },
    ['hunter2'],
    5,
    null,
  ]
  for (const value of wrong) {
    const parsed = secretReference().safeParse(value)
    assert.equal(parsed.success, false, JSON.stringify(value))
    assert.doesNotMatch(parsed.error?.issues.map((issue) => issue.message).join() ?? '', /hunter2/)
    assert.equal(parseSecretReference(value as SecretReference), undefined)
    assert.equal(describeReference(value as SecretReference), '(not a reference)')
  }
})

test('a field with a reference is marked, also when it is optional and described', () => {
  const schema = z.toJSONSchema(z.object({ password: secretReference().optional().describe('the password') }))
  assert.match(JSON.stringify(schema), new RegExp(`"${SECRET_MARK}":true`))
})
