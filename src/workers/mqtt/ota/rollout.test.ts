import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { createRollout, type KeptDevice, OTA_STATES, REPORTED_STATES, type Rollout } from './rollout.ts'

const named = (count: number) => Array.from({ length: count }, (_, index) => `d${index}`)
const isEnd = (state: string | undefined) => state === 'updated' || state === 'failed'

/** Tells, and reports the end, as if all were written at once. */
function finish(rollout: Rollout, id: string, state: 'updated' | 'failed'): void {
  assert.equal(rollout.report(id, state), 'ended')
  rollout.settled(id)
}

suite('the state machine of a roll-out', () => {
  test('tells as many as may be in flight, in their order, and the next when an end is on disk', () => {
    const rollout = createRollout({ devices: named(5), concurrency: 2, failure_limit: 0 })
    assert.deepEqual(rollout.take(), ['d0', 'd1'])
    assert.deepEqual(rollout.take(), [])
    rollout.report('d1', 'updated')
    assert.deepEqual(rollout.take(), [], 'not yet on disk')
    rollout.settled('d1')
    assert.deepEqual(rollout.take(), ['d2'])
    assert.deepEqual(rollout.counts(), { waiting: 2, active: 2, updated: 1, failed: 0 })
  })

  test('one failure more than may: nobody else is told, and it is over when those in flight have ended', () => {
    const rollout = createRollout({ devices: named(6), concurrency: 2, failure_limit: 1 })
    rollout.take()
    finish(rollout, 'd0', 'failed')
    assert.deepEqual(rollout.take(), ['d2'])
    finish(rollout, 'd1', 'failed')
    assert.deepEqual([rollout.take(), rollout.stopped(), rollout.over()], [[], true, false])
    finish(rollout, 'd2', 'updated')
    assert.deepEqual([rollout.over(), rollout.counts().waiting], [true, 3])
  })

  test('late, repeated and early reports change nothing; states may be left out', () => {
    const rollout = createRollout({ devices: named(2), concurrency: 1, failure_limit: 0 })
    assert.equal(rollout.report('d0', 'updated'), 'ignored', 'it was not told')
    rollout.take()
    assert.equal(rollout.report('d1', 'updated'), 'ignored', 'the other was not told')
    assert.equal(rollout.report('stranger', 'updated'), 'ignored')
    assert.equal(rollout.report('d0', 'notified'), 'ignored')
    assert.equal(rollout.report('d0', 'installing'), 'moved')
    assert.equal(rollout.report('d0', 'downloading'), 'ignored')
    assert.equal(rollout.report('d0', 'updated'), 'ended')
    assert.equal(rollout.report('d0', 'failed'), 'ignored')
    assert.deepEqual(rollout.device('d0'), { state: 'updated', reason: null })
  })

  test('a failure says in which state it came', () => {
    const rollout = createRollout({ devices: ['a'], concurrency: 1, failure_limit: 0 })
    rollout.take()
    rollout.report('a', 'verified')
    rollout.report('a', 'failed', 'no room')
    assert.equal(rollout.device('a')?.reason, 'no room (it was verified)')
  })

  test('MQ-07: whatever devices report and whenever it crashes, no more fail than the limit and the concurrency, and no ended device is told again', () => {
    // Mostly of those that are under way, and failures above all: that is what the limit is about.
    const state = fc.oneof(
      { weight: 3, arbitrary: fc.constant('failed' as const) },
      fc.constantFrom(...REPORTED_STATES),
    )
    const report = fc.record({
      do: fc.constant('report' as const),
      at: fc.nat(),
      state,
      any: fc.oneof({ weight: 4, arbitrary: fc.constant(false) }, fc.constant(true)),
    })
    const write = fc.record({ do: fc.constant('write' as const), count: fc.integer({ min: 1, max: 3 }) })
    const action = fc.oneof(
      { weight: 6, arbitrary: report },
      { weight: 4, arbitrary: write },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const) }) },
    )
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 0, max: 6 }),
        fc.array(action, { minLength: 50, maxLength: 300 }),
        (count, concurrency, failure_limit, actions) => {
          const devices = named(count)
          const options = { devices, concurrency, failure_limit }
          const disk = new Map<string, KeptDevice>()
          /** Devices that really ended, as they know themselves. */
          const ended = new Map<string, string>()
          let unwritten: string[] = []
          let rollout = createRollout(options)

          const tell = (ids: readonly string[]) => {
            for (const id of ids) {
              // As the runner does: on disk first, then told.
              disk.set(id, { state: 'notified', reason: null })
              assert.ok(!isEnd(ended.get(id)), `${id} has ended and is told again`)
            }
          }
          const write = (most: number) => {
            for (const id of unwritten.splice(0, most)) {
              disk.set(id, rollout.device(id) as KeptDevice)
              rollout.settled(id)
            }
            tell(rollout.take())
          }
          tell(rollout.take())
          for (const each of actions) {
            if (each.do === 'write') write(each.count)
            else if (each.do === 'crash') {
              // What was not written is gone; devices say it again, since their last report is kept by the broker.
              unwritten = []
              rollout = createRollout({ ...options, kept: new Map(disk) })
              for (const id of rollout.active()) {
                const state = ended.get(id)
                if (state !== undefined && rollout.report(id, state as 'updated') === 'ended') unwritten.push(id)
              }
            } else {
              const underWay = each.any ? [] : rollout.active()
              const from = underWay.length > 0 ? underWay : devices
              const id = from[each.at % from.length] ?? ''
              const told = disk.has(id)
              const outcome = rollout.report(id, each.state)
              assert.ok(told || outcome === 'ignored', 'nobody who was not told has an end')
              if (outcome === 'ended') {
                unwritten.push(id)
                ended.set(id, each.state)
              }
            }
            const { failed, active, waiting, updated } = rollout.counts()
            assert.ok(failed <= failure_limit + concurrency, `${failed} failed`)
            assert.equal(failed + active + waiting + updated, count)
            const inFlight = [...disk.values()].filter(({ state }) => !isEnd(state)).length
            assert.ok(inFlight <= concurrency, `${inFlight} in flight on disk`)
          }
          const failedOnDisk = [...disk.values()].filter(({ state }) => state === 'failed').length
          assert.ok(failedOnDisk <= failure_limit + concurrency)
        },
      ),
      { numRuns: 500 },
    )
  })

  test('it always comes to its end', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 10 }),
        fc.integer({ min: 0, max: 40 }),
        fc.infiniteStream(fc.constantFrom('updated' as const, 'failed' as const)),
        (count, concurrency, failure_limit, ends) => {
          const rollout = createRollout({ devices: named(count), concurrency, failure_limit })
          for (let rounds = 0; !rollout.over(); rounds++) {
            assert.ok(rounds <= count, 'it goes on')
            rollout.take()
            const [id] = rollout.active()
            if (id !== undefined) finish(rollout, id, ends.next().value as 'updated')
          }
          const { waiting, failed } = rollout.counts()
          assert.equal(waiting === 0 || failed > failure_limit, true)
        },
      ),
    )
  })

  test('every reported state is a state of a device', () => {
    assert.deepEqual(
      REPORTED_STATES.filter((state) => !OTA_STATES.includes(state)),
      [],
    )
  })
})
