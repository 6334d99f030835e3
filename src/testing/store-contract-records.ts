import assert from 'node:assert/strict'
import { it } from 'node:test'
import { MAX_RECORD_BYTES, type RecordQuery } from '../core/records.ts'
import type { Store } from '../store/store.ts'
import { refused, SAMPLE_START, type WithStore } from './store-samples.ts'

/** The parts of the contract that are about changes of state in one go, and about the records of workers. */

export function describeStateChanges(withStore: WithStore): void {
  it(
    'are made together: deleted first, then set',
    withStore(async (store) => {
      await store.stateApply('mqtt', {
        set: [
          ['a', 1],
          ['b', { n: [null] }],
          ['a', 2],
        ],
      })
      await store.stateSet('ssh', 'a', 'other')
      assert.deepEqual(await store.stateList('mqtt', ''), [
        { key: 'a', value: 2 },
        { key: 'b', value: { n: [null] } },
      ])
      await store.stateApply('mqtt', { set: [['a', 3]], delete: ['a', 'b', 'nothing'] })
      await store.stateApply('mqtt', {})
      assert.deepEqual(await store.stateList('mqtt', ''), [{ key: 'a', value: 3 }])
      assert.equal(await store.stateGet('ssh', 'a'), 'other')
    }),
  )
  it(
    'are not made at all where one of them cannot be',
    withStore(async (store) => {
      await store.stateSet('mqtt', 'old', 1)
      const changes = {
        set: [
          ['a', 1],
          ['b', 1n],
        ],
        delete: ['old'],
      } as const
      await refused(store.stateApply('mqtt', changes), 'MHV_INTERNAL')
      assert.deepEqual(await store.stateList('mqtt', ''), [{ key: 'old', value: 1 }])
    }),
  )
  it(
    'keep the order of their calls',
    withStore(async (store) => {
      const calls = Array.from({ length: 200 }, (_, n) => store.stateApply('mqtt', { set: [['n', n]] }))
      await Promise.all([
        ...calls,
        store.stateApply('mqtt', { delete: ['n'] }),
        store.stateApply('mqtt', { set: [['n', 'last']] }),
      ])
      assert.equal(await store.stateGet('mqtt', 'n'), 'last')
    }),
  )
}

function sample(n: number, key = `t/${n}`) {
  return { key, at: SAMPLE_START + n, payload: Buffer.from(`payload ${n}`), meta: { n } }
}

async function keysOf(store: Store, query: Partial<RecordQuery> = {}, worker = 'mqtt'): Promise<readonly string[]> {
  return (await store.listRecords(worker, { stream: 's', limit: 100, ...query })).map(({ key }) => key)
}

export function describeRecords(withStore: WithStore): void {
  it(
    'come back as they were given, newest first',
    withStore(async (store) => {
      await store.appendRecords('mqtt', 's', [sample(2), sample(1)])
      await store.appendRecords('mqtt', 's', [{ ...sample(3), payload: new Uint8Array([0, 255, 128]).subarray(1) }])
      await store.appendRecords('mqtt', 'other', [sample(9)])
      await store.appendRecords('ssh', 's', [sample(8)])
      const found = await store.listRecords('mqtt', { stream: 's', limit: 10 })
      assert.deepEqual(
        found.map(({ id: _, payload, ...record }) => ({ ...record, payload: Buffer.from(payload) })),
        [{ ...sample(3), payload: Buffer.from([255, 128]) }, sample(2), sample(1)],
      )
      assert.equal(new Set(found.map(({ id }) => id)).size, 3)
      assert.deepEqual(await keysOf(store, { stream: 'nothing' }), [])
    }),
  )
  it(
    'are selected by the beginning of the key, by time, and page by page',
    withStore(async (store) => {
      const keys = ['a/1', 'a/2', 'ab', 'A/1', 'a%', 'a/💾', 'é/1', 'b']
      await store.appendRecords(
        'mqtt',
        's',
        keys.map((key, n) => sample(n, key)),
      )
      assert.deepEqual(await keysOf(store, { key_prefix: 'a/' }), ['a/💾', 'a/2', 'a/1'])
      assert.deepEqual(await keysOf(store, { key_prefix: 'a%' }), ['a%'])
      assert.deepEqual(await keysOf(store, { key: 'a/1' }), ['a/1'])
      assert.deepEqual(await keysOf(store, { key: 'a/' }), [])
      assert.deepEqual(await keysOf(store, { key_prefix: 'a/💾' }), ['a/💾'])
      assert.deepEqual(await keysOf(store, { key_prefix: 'é' }), ['é/1'])
      assert.deepEqual(await keysOf(store, { since: SAMPLE_START + 5, until: SAMPLE_START + 7 }), ['é/1', 'a/💾'])
      // Several of one moment: none is lost between two pages.
      await store.appendRecords(
        'mqtt',
        'p',
        Array.from({ length: 7 }, (_, n) => ({ ...sample(0, `k${n}`) })),
      )
      const seen: string[] = []
      let before: RecordQuery['before']
      for (;;) {
        const page = await store.listRecords('mqtt', { stream: 'p', limit: 2, ...(before && { before }) })
        if (page.length === 0) break
        seen.push(...page.map(({ key }) => key))
        before = page.at(-1)
      }
      assert.deepEqual(seen, ['k6', 'k5', 'k4', 'k3', 'k2', 'k1', 'k0'])
    }),
  )
  it(
    'go by their age and by their bytes, the oldest first',
    withStore(async (store) => {
      assert.deepEqual(await store.recordStats('mqtt', 's'), { count: 0, bytes: 0, oldest_at: null })
      await store.appendRecords(
        'mqtt',
        's',
        Array.from({ length: 1_200 }, (_, n) => sample(n)),
      )
      await store.appendRecords('mqtt', 'other', [sample(0)])
      const whole = await store.recordStats('mqtt', 's')
      assert.deepEqual([whole.count, whole.oldest_at], [1_200, SAMPLE_START])
      assert.equal(await store.retainRecords('mqtt', 's', { before: SAMPLE_START + 1_100 }), 1_100)
      assert.equal(await store.retainRecords('mqtt', 's', { before: SAMPLE_START + 1_100 }), 0)
      const left = await store.recordStats('mqtt', 's')
      assert.deepEqual([left.count, left.oldest_at], [100, SAMPLE_START + 1_100])
      const each = left.bytes / 100
      assert.equal(await store.retainRecords('mqtt', 's', { max_bytes: left.bytes }), 0)
      assert.equal(await store.retainRecords('mqtt', 's', { max_bytes: 10.5 * each - ((10.5 * each) % 1) }), 90)
      assert.equal((await keysOf(store)).at(-1), 't/1190')
      assert.equal(await store.retainRecords('mqtt', 's', { max_bytes: 0 }), 10)
      assert.deepEqual(await store.recordStats('mqtt', 's'), { count: 0, bytes: 0, oldest_at: null })
      assert.equal((await store.recordStats('mqtt', 'other')).count, 1)
    }),
  )
  it(
    'are taken whole or not at all, up to 64 KiB each',
    withStore(async (store) => {
      const long = { ...sample(1), payload: new Uint8Array(MAX_RECORD_BYTES) }
      const longer = { ...sample(2), payload: new Uint8Array(MAX_RECORD_BYTES + 1) }
      await refused(store.appendRecords('mqtt', 's', [sample(0), longer]), 'MHV_INTERNAL')
      await refused(store.appendRecords('mqtt', 's', [sample(0), { ...sample(1), at: 0.5 }]), 'MHV_INTERNAL')
      assert.deepEqual(await keysOf(store), [])
      await store.appendRecords('mqtt', 's', [long])
      const [record] = await store.listRecords('mqtt', { stream: 's', limit: 1 })
      assert.equal(record?.payload.byteLength, MAX_RECORD_BYTES)
      // What was given stays the caller's.
      assert.equal(long.payload.byteLength, MAX_RECORD_BYTES)
    }),
  )
  it(
    'outlive a close',
    withStore(async (store, _clock, { reopen }) => {
      if (reopen === undefined) return
      await store.appendRecords('mqtt', 's', [sample(1)])
      const [before] = await store.listRecords('mqtt', { stream: 's', limit: 1 })
      await store.retainRecords('mqtt', 's', { max_bytes: 0 })
      const again = await reopen()
      await again.appendRecords('mqtt', 's', [sample(2)])
      const [after] = await again.listRecords('mqtt', { stream: 's', limit: 9 })
      assert.equal(after?.key, 't/2')
      assert.ok(Number(after?.id) > Number(before?.id))
    }),
  )
}
