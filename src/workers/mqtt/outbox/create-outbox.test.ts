import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  assertSum,
  fakeBroker,
  firsts,
  message,
  openOn,
  SITE,
  silentLog,
  steps,
} from '../../../../test/helpers/mqtt-outbox.ts'
import { mhvError } from '../../../core/errors.ts'
import { createRedactor } from '../../../governance/redaction.ts'
import { recordsOf, stateOf } from '../../../runtime/worker-journal.ts'
import { createMemoryStore } from '../../../store/memory.ts'
import type { Store } from '../../../store/store.ts'
import { createFakeClock } from '../../../testing/fake-clock.ts'
import { mqttSettings } from '../settings.ts'
import { decodeEntry, MESSAGES } from './entry.ts'
import { openOutboxes, overflowOf } from './outboxes.ts'

suite('the outbox', () => {
  test('gives up what expires, and what the broker refuses for good, and says so', async () => {
    const clock = createFakeClock(1_700_000_000_000)
    const broker = fakeBroker()
    const { outbox } = await openOn(createMemoryStore(clock), clock, broker)
    const made = await outbox.accept([
      message('t', 'late', { expires_at: clock.now() + 1_500 }),
      message('t', 'refused'),
      message('t', 'taken'),
    ])
    for (let step = 0; step < 120; step++) await clock.advance(20)
    broker.refuse(({ payload }) =>
      Buffer.from(payload).toString() === 'refused' ? mhvError('MHV_MQTT_NOT_AUTHORIZED', 'no') : undefined,
    )
    broker.connect()
    broker.acknowledge(20)
    await steps(clock)
    await made.settled
    assert.deepEqual(
      made.outcomes().map(({ state }) => state),
      ['expired', 'refused', 'delivered'],
    )
    const { expired, refused, delivered } = outbox.status()
    assert.deepEqual([expired, refused, delivered], [1, 1, 1])
    assertSum(outbox)
  })

  test('accepts nothing that the journal does not take, and forgets nothing that it has not written', async () => {
    const clock = createFakeClock(1_700_000_000_000)
    const store = createMemoryStore(clock)
    let full = false
    const failing: Store = {
      ...store,
      async stateApply(worker, changes) {
        if (full) throw mhvError('MHV_JOURNAL_FULL', 'no room')
        await store.stateApply(worker, changes)
      },
    }
    const broker = fakeBroker()
    const { outbox } = await openOn(failing, clock, broker)
    broker.connect()
    await outbox.accept([message('t', '1')])
    full = true
    await assert.rejects(outbox.accept([message('t', '2')]), { code: 'MHV_JOURNAL_FULL' })
    assert.equal(broker.inFlight(), 1)
    broker.acknowledge()
    await steps(clock)
    assert.equal((await store.stateList('mqtt', MESSAGES)).length, 1)
    full = false
    for (let step = 0; step < 60; step++) await clock.advance(20)
    assert.equal((await store.stateList('mqtt', MESSAGES)).length, 0)
    const { accepted, delivered } = outbox.status()
    assert.deepEqual([accepted, delivered], [1, 1])
  })

  test('MQ-04: what cannot be written makes nothing give way', async () => {
    const clock = createFakeClock(1_700_000_000_000)
    const store = createMemoryStore(clock)
    let full = false
    const failing: Store = {
      ...store,
      async stateApply(worker, changes) {
        if (full) throw mhvError('MHV_JOURNAL_FULL', 'no room')
        await store.stateApply(worker, changes)
      },
    }
    const broker = fakeBroker()
    const { outbox } = await openOn(failing, clock, broker, { max_size: 3 })
    const oldest = { overflow: 'drop_oldest' as const }
    await outbox.accept(['1', '2', '3'].map((text) => message('t', text, oldest)))
    full = true
    for (const text of ['4', '5', '6', '7']) {
      const refused = assert.rejects(outbox.accept([message('t', text, oldest)]), { code: 'MHV_JOURNAL_FULL' })
      // Writes that failed are followed by a pause.
      await steps(clock, 30)
      await refused
    }
    const { dropped, waiting } = outbox.status()
    assert.deepEqual([dropped, waiting], [0, 3])
    full = false
    await steps(clock, 60)
    await outbox.accept([message('t', '8', oldest)])
    assert.deepEqual([outbox.status().dropped, outbox.status().waiting], [1, 3])
    assert.equal((await store.stateList('mqtt', MESSAGES)).length, 3)
    assertSum(outbox)
    broker.connect()
    broker.acknowledge(9)
    assert.deepEqual(
      broker.taken.map(({ text }) => text),
      ['2', '3', '8'],
    )
  })

  test('MQ-02: over a new connection nothing overtakes what is on its way over the old one', async () => {
    const clock = createFakeClock(1_700_000_000_000)
    const broker = fakeBroker()
    const { outbox } = await openOn(createMemoryStore(clock), clock, broker)
    broker.connect()
    await outbox.accept([message('t', '1'), message('t', '2')])
    const ended = broker.replace()
    await outbox.accept([message('t', '3'), message('other', '1')])
    assert.equal(broker.inFlight(), 1)
    ended()
    await steps(clock, 60)
    broker.acknowledge(9)
    await steps(clock, 60)
    broker.acknowledge(9)
    assert.deepEqual(firsts(broker).get('t'), ['1', '2', '3'])
  })

  test('replays what waited at its pace, and lets new topics pass', async () => {
    const clock = createFakeClock(1_700_000_000_000)
    const broker = fakeBroker()
    const { outbox } = await openOn(createMemoryStore(clock), clock, broker, { replay_rate: 50 })
    await outbox.accept(Array.from({ length: 60 }, (_, n) => message('old', String(n))))
    broker.connect()
    const sentBy = async (ms: number) => {
      for (let step = 0; step < ms / 20; step++) {
        broker.acknowledge(100)
        await clock.advance(20)
      }
      broker.acknowledge(100)
      return broker.taken.filter(({ topic }) => topic === 'old').length
    }
    const soon = await sentBy(20)
    assert.ok(soon <= 7, `${soon} at once`)
    await outbox.accept([message('new', 'x')])
    broker.acknowledge(100)
    assert.equal(firsts(broker).get('new')?.length, 1)
    const second = await sentBy(500)
    assert.ok(second >= 20 && second <= 35, `${second} after half a second`)
    assert.equal(await sentBy(1_500), 60)
  })

  test('a send that fails although the connection is there is tried again later, not at once', async () => {
    const clock = createFakeClock(1_700_000_000_000)
    const broker = fakeBroker()
    const { outbox } = await openOn(createMemoryStore(clock), clock, broker)
    broker.connect()
    broker.refuse(() => mhvError('MHV_INTERNAL', 'not today'))
    await outbox.accept([message('t', '1')])
    broker.acknowledge()
    await steps(clock)
    assert.deepEqual([broker.inFlight(), outbox.status().waiting], [0, 1])
    broker.refuse(() => undefined)
    for (let step = 0; step < 60; step++) await clock.advance(20)
    assert.equal(broker.inFlight(), 1)
    broker.acknowledge()
    await steps(clock)
    assert.deepEqual([outbox.status().delivered, outbox.status().resent], [1, 1])
  })

  test('drops by an operator are counted, journaled, and never sent', async () => {
    const clock = createFakeClock(1_700_000_000_000)
    const store = createMemoryStore(clock)
    const broker = fakeBroker()
    const { outbox } = await openOn(store, clock, broker)
    const { ids } = await outbox.accept([message('t', '1'), message('t', '2')])
    const dropping = outbox.drop([ids[0] as string, 'nobody'])
    await steps(clock)
    assert.deepEqual(await dropping, { dropped: 1, in_flight: 0 })
    assert.equal((await store.stateList('mqtt', MESSAGES)).length, 1)
    assert.equal(outbox.status().removed, 1)
    broker.connect()
    broker.acknowledge(9)
    assert.deepEqual(
      broker.taken.map(({ text }) => text),
      ['2'],
    )
  })

  test('keeps every property and every byte of a message over a restart', async () => {
    const clock = createFakeClock(1_700_000_000_000)
    const store = createMemoryStore(clock)
    const first = await openOn(store, clock, fakeBroker())
    const whole = message('t', '', {
      payload: Buffer.from([0, 255, 128, 10]),
      qos: 2,
      retain: true,
      expires_at: clock.now() + 60_000,
      content_type: 'application/cbor',
      response_topic: 'r/1',
      correlation_data: Buffer.from([1, 254]),
      user_properties: { a: 'b', many: ['1', '2'] },
    })
    await first.outbox.accept([whole, message('t', 'é💾')])
    const { outbox } = await openOn(store, clock, fakeBroker())
    const [one, two] = outbox.held(0, 9)
    assert.deepEqual([...(one?.payload ?? [])], [0, 255, 128, 10])
    assert.equal(Buffer.from(two?.payload ?? []).toString(), 'é💾')
    const [stored] = await store.stateList('mqtt', MESSAGES)
    const { message: again } = decodeEntry(1, stored?.value)
    assert.deepEqual({ ...again, payload: Buffer.from(again.payload) }, whole)
  })

  test('is opened for the targets that have messages, and knows which topics may be dropped', async () => {
    const clock = createFakeClock(1_700_000_000_000)
    const store = createMemoryStore(clock)
    const { outbox } = await openOn(store, clock, fakeBroker())
    await outbox.accept([message('t', '1')])
    const settings = mqttSettings.parse({})
    const known = (name: string) => ({ target: { name, tier: 'dev', tags: [], groups: [], address: {} }, settings })
    const journal = { store, redactor: createRedactor() }
    const context = {
      clock,
      log: silentLog,
      state: stateOf(journal, 'mqtt'),
      records: recordsOf(journal, 'mqtt'),
      targets: async () => [known('other'), known(SITE)],
    }
    const broker = fakeBroker()
    broker.connect()
    const outboxes = await openOutboxes(context as never, { broker: () => broker.session })
    assert.deepEqual([...outboxes.all().keys()], [SITE])
    assert.equal(broker.inFlight(), 1)
    assert.equal(overflowOf(settings.outbox, 'sensors/7/temperature'), 'drop_oldest')
    assert.equal(overflowOf(settings.outbox, 'mahavishnu/commands/7'), 'reject')
  })
})
