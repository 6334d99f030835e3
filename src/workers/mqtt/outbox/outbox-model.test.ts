import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import {
  assertSum,
  type Broker,
  fakeBroker,
  firsts,
  message,
  openOn,
  SITE,
  steps,
} from '../../../../test/helpers/mqtt-outbox.ts'
import { createMemoryStore } from '../../../store/memory.ts'
import { createFakeClock } from '../../../testing/fake-clock.ts'
import { MESSAGES } from './entry.ts'
import { lostStream } from './ledger.ts'

const topics = ['a', 'b', 'c']
const action = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('accept' as const),
      messages: fc.array(
        fc.record({ topic: fc.constantFrom(...topics), qos: fc.constantFrom(1 as const, 2 as const) }),
        {
          minLength: 1,
          maxLength: 5,
        },
      ),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('connect' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('cut' as const), arrived: fc.nat(30) }) },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('acknowledge' as const), count: fc.integer({ min: 1, max: 20 }) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const), arrived: fc.nat(30) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const) }) },
)

suite('the outbox over connections that break and processes that die', () => {
  test('MQ-01, MQ-02: all that was accepted arrives, by topic in its order, and is counted exactly', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(action, { maxLength: 60 }), async (actions) => {
        const clock = createFakeClock(1_700_000_000_000)
        const store = createMemoryStore(clock)
        let broker = fakeBroker()
        const all: Broker['taken'] = []
        let { outbox } = await openOn(store, clock, broker)
        const accepted = new Map<string, string[]>(topics.map((topic) => [topic, []]))
        let number = 0
        const take = () => all.push(...broker.taken.splice(0))
        for (const each of actions) {
          if (each.do === 'accept') {
            if (outbox.status().waiting + each.messages.length > 100) continue
            const from = number
            number += each.messages.length
            const made = each.messages.map(({ topic, qos }, index) => message(topic, String(from + index), { qos }))
            await outbox.accept(made)
            for (const { topic, payload } of made) accepted.get(topic)?.push(Buffer.from(payload).toString())
          } else if (each.do === 'connect') broker.connect()
          else if (each.do === 'cut') broker.cut(each.arrived)
          else if (each.do === 'acknowledge') broker.acknowledge(each.count)
          else if (each.do === 'wait') await steps(clock, 2)
          else {
            // The process dies: what the broker has taken stays taken, and the next process knows the disk alone.
            broker.cut(each.arrived)
            take()
            await outbox.close()
            broker = fakeBroker()
            ;({ outbox } = await openOn(store, clock, broker))
          }
          await clock.advance(0)
          take()
        }
        broker.connect()
        for (let round = 0; round < 400 && outbox.status().waiting > 0; round++) {
          broker.acknowledge(20)
          await clock.advance(5)
        }
        take()
        const found = firsts({ ...broker, taken: all })
        for (const topic of topics) assert.deepEqual(found.get(topic) ?? [], accepted.get(topic))
        await steps(clock)
        const status = outbox.status()
        assert.equal(status.accepted, number)
        assert.equal(status.delivered, number)
        await outbox.close()
        assert.deepEqual(await store.stateList('mqtt', MESSAGES), [])
      }),
      { numRuns: 60 },
    )
  })

  test('MQ-01: a process that dies before it has written what was acknowledged sends it again', async () => {
    const clock = createFakeClock(1_700_000_000_000)
    const store = createMemoryStore(clock)
    const broker = fakeBroker()
    // What the process wants to write after a certain moment never gets there.
    let alive = true
    const mortal = new Proxy(store, {
      get(of, name) {
        const value: unknown = Reflect.get(of, name)
        return alive || typeof value !== 'function' ? value : () => new Promise(() => undefined)
      },
    })
    const first = await openOn(mortal, clock, broker)
    broker.connect()
    await first.outbox.accept(['1', '2', '3'].map((text) => message('t', text)))
    alive = false
    broker.acknowledge(2)
    await steps(clock)
    const again = fakeBroker()
    const second = await openOn(store, clock, again)
    again.connect()
    assert.equal(second.outbox.status().waiting, 3)
    again.acknowledge(3)
    await steps(clock)
    assert.deepEqual(
      again.taken.map(({ text }) => text),
      ['1', '2', '3'],
    )
    assert.equal(second.outbox.status().delivered, 3)
  })

  test('MQ-02: QoS 1 waits for QoS 2 of its topic, other topics do not', async () => {
    const clock = createFakeClock(1_700_000_000_000)
    const broker = fakeBroker()
    const { outbox } = await openOn(createMemoryStore(clock), clock, broker)
    broker.connect()
    await outbox.accept([message('t', '1', { qos: 2 }), message('t', '2'), message('u', '3')])
    assert.equal(broker.inFlight(), 2)
    broker.acknowledge(2)
    await clock.advance(0)
    assert.equal(broker.inFlight(), 1)
    broker.acknowledge()
    assert.deepEqual(
      broker.taken.map(({ text }) => text),
      ['1', '3', '2'],
    )
  })
})

suite('MQ-04: a full outbox', () => {
  test('refuses commands, whole calls only, and counts each message', async () => {
    const clock = createFakeClock(1_700_000_000_000)
    const store = createMemoryStore(clock)
    const broker = fakeBroker()
    const { outbox } = await openOn(store, clock, broker, { max_size: 5 })
    await outbox.accept(['1', '2', '3'].map((text) => message('c', text)))
    await assert.rejects(outbox.accept(['4', '5', '6'].map((text) => message('c', text))), {
      code: 'MHV_MQTT_OUTBOX_FULL',
    })
    await outbox.accept(['4', '5'].map((text) => message('c', text)))
    await assert.rejects(outbox.accept([message('c', '6')]), { code: 'MHV_MQTT_OUTBOX_FULL' })
    assert.equal(outbox.status().rejected, 4)
    broker.connect()
    broker.acknowledge(20)
    await steps(clock)
    assert.deepEqual(
      broker.taken.map(({ text }) => text),
      ['1', '2', '3', '4', '5'],
    )
    // And after a crash they are still counted.
    const { outbox: again } = await openOn(store, clock, fakeBroker(), { max_size: 5 })
    const { accepted, delivered, rejected, waiting } = again.status()
    assert.deepEqual({ accepted, delivered, rejected, waiting }, { accepted: 5, delivered: 5, rejected: 4, waiting: 0 })
  })

  test('drops the oldest telemetry for newer, never a command, and journals each', async () => {
    const clock = createFakeClock(1_700_000_000_000)
    const store = createMemoryStore(clock)
    const broker = fakeBroker()
    const { outbox, records } = await openOn(store, clock, broker, { max_size: 4 })
    const telemetry = (text: string) => message('sensors/x', text, { overflow: 'drop_oldest' })
    const first = await outbox.accept([message('c', 'command'), telemetry('1'), telemetry('2'), telemetry('3')])
    await outbox.accept([telemetry('4'), telemetry('5')])
    assert.deepEqual(
      first.outcomes().map(({ state }) => state),
      ['accepted', 'dropped', 'dropped', 'accepted'],
    )
    await assert.rejects(outbox.accept([message('c', 'another')]), { code: 'MHV_MQTT_OUTBOX_FULL' })
    await assert.rejects(outbox.accept([1, 2, 3, 4].map((n) => telemetry(`x${n}`))), { code: 'MHV_MQTT_OUTBOX_FULL' })
    const { waiting, dropped, rejected } = outbox.status()
    assert.deepEqual({ waiting, dropped, rejected }, { waiting: 4, dropped: 2, rejected: 5 })
    assertSum(outbox)
    const lost = await records.query({ stream: lostStream(SITE), limit: 10 })
    assert.deepEqual(
      lost.map(({ key, meta }) => [key, meta.event, meta.id]),
      [
        ['sensors/x', 'dropped', first.ids[2]],
        ['sensors/x', 'dropped', first.ids[1]],
      ],
    )
    broker.connect()
    broker.acknowledge(20)
    await steps(clock)
    assert.deepEqual(firsts(broker).get('sensors/x'), ['3', '4', '5'])
  })

  test('counts bytes as well as messages', async () => {
    const clock = createFakeClock(1_700_000_000_000)
    const { outbox } = await openOn(createMemoryStore(clock), clock, fakeBroker(), { max_bytes: 3_000 })
    await outbox.accept([message('c', 'x'.repeat(2_000))])
    await assert.rejects(outbox.accept([message('c', 'x'.repeat(2_000))]), { code: 'MHV_MQTT_OUTBOX_FULL' })
    await outbox.accept([message('c', 'x')])
    assert.equal(outbox.status().waiting, 2)
  })

  test('random calls: what is accepted, rejected and dropped adds up, over crashes too', async () => {
    const call = fc.record({
      size: fc.integer({ min: 1, max: 6 }),
      overflow: fc.constantFrom('reject' as const, 'drop_oldest' as const),
      next: fc.constantFrom('nothing', 'ack', 'cut', 'crash'),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(call, { maxLength: 40 }), async (calls) => {
        const clock = createFakeClock(1_700_000_000_000)
        const store = createMemoryStore(clock)
        let broker = fakeBroker()
        let { outbox } = await openOn(store, clock, broker, { max_size: 10 })
        const expected = { accepted: 0, rejected: 0 }
        for (const { size, overflow, next } of calls) {
          const made = Array.from({ length: size }, (_, n) => message('t', String(n), { overflow }))
          await outbox.accept(made).then(
            () => {
              expected.accepted += size
            },
            () => {
              expected.rejected += size
            },
          )
          if (next === 'ack') {
            broker.connect()
            broker.acknowledge(3)
          } else if (next === 'cut') broker.cut()
          else if (next === 'crash') {
            broker.cut()
            await outbox.close()
            broker = fakeBroker()
            ;({ outbox } = await openOn(store, clock, broker, { max_size: 10 }))
          }
          await clock.advance(20)
          const { accepted, rejected, waiting } = outbox.status()
          assert.deepEqual({ accepted, rejected }, expected)
          assert.ok(waiting <= 10)
          assertSum(outbox)
        }
        broker.cut()
        await outbox.close()
        const kept = await store.stateList('mqtt', MESSAGES)
        assert.equal(kept.length, outbox.status().waiting)
      }),
      { numRuns: 60 },
    )
  })
})
