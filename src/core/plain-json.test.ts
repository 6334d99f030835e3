import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { mhvError } from './errors.ts'
import { plainJson } from './plain-json.ts'
import { createSecret } from './secret.ts'

suite('plain JSON', () => {
  test('JSON stays what it is', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
        assert.deepEqual(plainJson(value), value)
      }),
    )
  })

  test('whatever it is given, it never throws and gives JSON', () => {
    const anything = fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withSet: true,
      withTypedArray: true,
    })
    fc.assert(
      fc.property(anything, (value) => {
        const plain = plainJson(value)
        assert.deepEqual(JSON.parse(JSON.stringify(plain ?? null)), JSON.parse(JSON.stringify(plain ?? null)))
      }),
    )
  })

  test('an error keeps message, code, own fields, causes and what it gathers', () => {
    const refused = Object.assign(new Error('connect refused'), { code: 'ECONNREFUSED', port: 22 })
    const outer = mhvError('MHV_INTERNAL', 'outer', { details: { host: 'web1' }, cause: refused })
    const plain = plainJson({ error: outer, all: new AggregateError([refused], 'many') }) as {
      error: Record<string, unknown> & { cause: Record<string, unknown> }
      all: { errors: { message: string }[] }
    }
    assert.equal(plain.error.message, 'outer')
    assert.equal(plain.error.code, 'MHV_INTERNAL')
    assert.deepEqual(plain.error.details, { host: 'web1' })
    assert.equal(plain.error.cause.message, 'connect refused')
    assert.equal(plain.error.cause.code, 'ECONNREFUSED')
    assert.match(String(plain.error.cause.stack), /connect refused/)
    assert.equal(plain.all.errors[0]?.message, 'connect refused')
  })

  test('cycles, depth, bytes, secrets and what cannot be read are told by name', () => {
    const cycle: Record<string, unknown> = { name: 'a' }
    cycle.self = cycle
    assert.deepEqual(plainJson(cycle), { name: 'a', self: '[circular]' })
    const shared = { x: 1 }
    assert.deepEqual(plainJson([shared, shared]), [shared, shared])
    let deep: unknown = 'end'
    for (let level = 0; level < 100_000; level++) deep = [deep]
    assert.match(JSON.stringify(plainJson(deep)), /too deep/)
    assert.equal(plainJson(Buffer.from('abc')), '[3 bytes]')
    assert.equal(plainJson(createSecret('env:X', 'hunter2')), '[secret env:X]')
    const trap = {
      get value() {
        throw new Error('no')
      },
    }
    assert.equal(plainJson(trap), '[unreadable]')
    assert.deepEqual(
      plainJson({ big: 1n, nan: Number.NaN, at: new Date(0), skip: () => 1, map: new Map([[1, 'a']]) }),
      {
        big: '1',
        nan: 'NaN',
        at: '1970-01-01T00:00:00.000Z',
        map: { 1: 'a' },
      },
    )
  })
})
