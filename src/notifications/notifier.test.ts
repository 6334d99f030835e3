import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Notification } from '../core/notifier.ts'
import { createRedactor } from '../governance/redaction.ts'
import { createMemoryStore } from '../store/memory.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import type { Destinations, NotificationSettings } from './destination.ts'
import { createNotifier } from './notifier.ts'
import type { NotificationPayload } from './payload.ts'

const COMMON = { least_severity: 'warning', kinds: [], timeout_seconds: 5 } as const
const SETTINGS: NotificationSettings = {
  destinations: { ops: { command: ['true'], ...COMMON } },
  dedupe_seconds: 300,
  rate_per_minute: 30,
  max_waiting: 100,
  max_attempts: 3,
  retry: { base_ms: 100, cap_ms: 1_000 },
}

function notification(more: Partial<Notification> = {}): Notification {
  return { kind: 'run_failed', severity: 'warning', title: 't', body: 'b', facts: {}, dedupe_key: 'k', ...more }
}

function createFixture(settings: Partial<NotificationSettings> = {}) {
  const clock = createFakeClock(Date.parse('2026-01-01T00:00:00Z'))
  const store = createMemoryStore(clock)
  const redactor = createRedactor()
  const counted: string[] = []
  const warned: unknown[] = []
  const line = (message: string, fields?: unknown) => void warned.push([message, fields])
  const notifier = createNotifier({
    outbox: store,
    settings: { ...SETTINGS, ...settings },
    clock,
    log: { debug: line, info: line, warn: line, error: line },
    redact: redactor.deep,
    count: (outcome, destination) => void counted.push(`${outcome} ${destination}`),
    onQueued: () => void counted.push('woken'),
  })
  async function waiting() {
    const entries = []
    for (
      let entry = (await store.dueOutbox(clock.now(), 1))[0];
      entry;
      entry = (await store.dueOutbox(clock.now(), 1))[0]
    ) {
      entries.push({ ...entry, payload: entry.payload as NotificationPayload })
      await store.outboxDone(entry.id)
    }
    return entries
  }
  return { clock, store, redactor, counted, warned, notifier, waiting }
}

describe('the notifier', () => {
  test('tells what is told twice within the window once, and again after it', async () => {
    const { notifier, clock, counted, waiting } = createFixture()
    notifier.notify(notification())
    notifier.notify(notification({ title: 'again' }))
    notifier.notify(notification({ dedupe_key: 'other' }))
    await notifier.settled()
    assert.equal((await waiting()).length, 2)
    assert.equal(counted.filter((each) => each === 'duplicate ops').length, 1)
    await clock.advance(300_001)
    notifier.notify(notification())
    await notifier.settled()
    assert.equal((await waiting()).length, 1)
  })

  test('keeps to the rate of a destination, counts what it leaves out, and says so with the next one', async () => {
    const { notifier, clock, warned, waiting } = createFixture({ rate_per_minute: 2 })
    for (let index = 0; index < 5; index++) notifier.notify(notification({ dedupe_key: `k${index}` }))
    await notifier.settled()
    assert.equal((await waiting()).length, 2)
    assert.equal(warned.length, 3)
    await clock.advance(30_000)
    // It was left out, so nobody has heard of it: its key is free.
    notifier.notify(notification({ dedupe_key: 'k4' }))
    await notifier.settled()
    assert.deepEqual(
      (await waiting()).map(({ payload }) => payload.data.left_out),
      [3],
    )
  })

  test('does not fill the outbox of a destination that is down', async () => {
    const { notifier, counted, waiting } = createFixture({ max_waiting: 3, rate_per_minute: 100 })
    for (let index = 0; index < 10; index++) {
      notifier.notify(notification({ dedupe_key: `k${index}` }))
      await notifier.settled()
    }
    assert.equal((await waiting()).length, 3)
    assert.equal(counted.filter((each) => each === 'outbox_full ops').length, 7)
  })

  test('asks each destination what it wants', async () => {
    const destinations: Destinations = {
      all: { command: ['true'], ...COMMON, least_severity: 'info' },
      critical: { command: ['true'], ...COMMON, least_severity: 'critical' },
      poison: { command: ['true'], ...COMMON, kinds: ['dead_letter_poison'] },
    }
    const { notifier, waiting } = createFixture({ destinations })
    notifier.notify(notification({ severity: 'info', dedupe_key: '1' }))
    notifier.notify(notification({ severity: 'critical', dedupe_key: '2' }))
    notifier.notify(notification({ kind: 'dead_letter_poison', dedupe_key: '3' }))
    await notifier.settled()
    const names = (await waiting()).map(({ destination }) => destination).sort()
    assert.deepEqual(names, ['notify:all', 'notify:all', 'notify:all', 'notify:critical', 'notify:poison'])
  })

  test('masks secrets and bounds everything', async () => {
    const { notifier, redactor, waiting } = createFixture()
    redactor.add('hunter2-secret')
    notifier.notify(
      notification({
        title: `hunter2-secret\nsecond line ${'x'.repeat(1_000)}`,
        body: `é${'hunter2-secret '.repeat(5_000)}`,
        facts: { first: 'hunter2-secret', large: 'y'.repeat(100_000), error: new Error('hunter2-secret'), big: 1n },
        dedupe_key: 'hunter2-secret',
      }),
    )
    await notifier.settled()
    const [entry] = await waiting()
    assert.ok(entry)
    const text = JSON.stringify(entry)
    assert.ok(!text.includes('hunter2-secret'))
    assert.ok(text.length < 20_000, `${text.length} characters`)
    assert.match(entry.payload.data.title, /^\[redacted\] second line x+$/)
    assert.equal(entry.payload.data.facts.first, '[redacted]')
    assert.equal(entry.payload.data.facts.facts_left_out !== undefined, true)
    assert.equal(entry.payload.timestamp, '2026-01-01T00:00:00.000Z')
  })

  test('a journal that does not take it is logged; the same thing is told when it does again', async () => {
    const fixture = createFixture()
    const enqueue = fixture.store.enqueueOutbox
    Object.assign(fixture.store, { enqueueOutbox: async () => Promise.reject(new Error('no room')) })
    fixture.notifier.notify(notification())
    await fixture.notifier.settled()
    assert.deepEqual(fixture.counted, ['lost ops'])
    assert.match(JSON.stringify(fixture.warned[0]), /did not take it/)
    Object.assign(fixture.store, { enqueueOutbox: enqueue })
    fixture.notifier.notify(notification())
    await fixture.notifier.settled()
    assert.deepEqual(fixture.counted, ['lost ops', 'queued ops', 'woken'])
  })
})
