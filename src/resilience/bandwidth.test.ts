import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fc from 'fast-check'
import { createFakeClock, type FakeClock } from '../testing/fake-clock.ts'
import { burstOf, createBandwidth, createBandwidths, UNLIMITED } from './bandwidth.ts'

const KIB = 1024
const NEVER = new AbortController().signal

/** A clock whose timers are counted. */
function countingClock(): FakeClock & { set(): number } {
  const clock = createFakeClock(0)
  let set = 0
  return {
    ...clock,
    after(ms, callback) {
      set += 1
      return clock.after(ms, callback)
    },
    set: () => set,
  }
}

/** Whether it is settled by now, without any time passing. */
async function isDone(promise: Promise<void>): Promise<boolean> {
  let done = false
  void promise.then(() => {
    done = true
  })
  await nextTurn()
  return done
}

suite('a bandwidth', () => {
  test('lets a burst go at once and the rest at its rate', async () => {
    const clock = createFakeClock(0)
    const { take, limit } = createBandwidth(1024 * KIB, clock)
    assert.equal(limit, 1024 * KIB)
    await take(256 * KIB, NEVER)
    const next = take(512 * KIB, NEVER)
    await clock.advance(499)
    assert.equal(await isDone(next), false)
    await clock.advance(2)
    assert.equal(await isDone(next), true)
  })

  test('a burst is a quarter of a second, and at least 64 KiB', async () => {
    assert.equal(burstOf(4_000_000), 1_000_000)
    assert.equal(burstOf(10), 64 * KIB)
    const { take } = createBandwidth(10, createFakeClock(0))
    await take(64 * KIB, NEVER)
    assert.equal(await isDone(take(1, NEVER)), false)
  })

  test('what was not used is not saved beyond the burst', async () => {
    const clock = createFakeClock(0)
    const { take } = createBandwidth(1024 * KIB, clock)
    await take(256 * KIB, NEVER)
    await clock.advance(3_600_000)
    await take(256 * KIB, NEVER)
    assert.equal(await isDone(take(1, NEVER)), false)
  })

  test('is first come, first served: a small piece does not pass a large one', async () => {
    const clock = createFakeClock(0)
    const { take } = createBandwidth(64 * KIB, clock)
    const order: string[] = []
    await take(64 * KIB, NEVER)
    const all = [
      take(60 * KIB, NEVER).then(() => order.push('large')),
      take(1, NEVER).then(() => order.push('small')),
      take(0, NEVER).then(() => order.push('nothing')),
    ]
    await clock.advance(900)
    assert.deepEqual(order, [])
    await clock.advance(200)
    await Promise.all(all)
    assert.deepEqual(order, ['large', 'small', 'nothing'])
  })

  test('a piece beyond the burst is saved up for, and then nothing is left', async () => {
    const clock = createFakeClock(0)
    const { take } = createBandwidth(64 * KIB, clock)
    const large = take(640 * KIB, NEVER)
    const next = take(64 * KIB, NEVER)
    await clock.advance(8_999)
    assert.equal(await isDone(large), false)
    await clock.advance(2)
    assert.equal(await isDone(large), true)
    await clock.advance(990)
    assert.equal(await isDone(next), false)
    await clock.advance(10)
    assert.equal(await isDone(next), true)
  })

  test('whoever gives up takes nothing, and whoever was behind goes on at once where there is enough', async () => {
    const clock = createFakeClock(0)
    const { take } = createBandwidth(64 * KIB, clock)
    await take(32 * KIB, NEVER)
    const leaving = new AbortController()
    const first = take(64 * KIB, leaving.signal)
    const second = take(32 * KIB, NEVER)
    const reason = new Error('over')
    leaving.abort(reason)
    await assert.rejects(first, (error) => error === reason)
    assert.equal(await isDone(second), true)
    await assert.rejects(take(1, leaving.signal), (error) => error === reason)
  })

  test('has no timer while nobody waits, one for all who do, and none without a limit', async () => {
    const clock = countingClock()
    const { take } = createBandwidth(64 * KIB, clock)
    await take(64 * KIB, NEVER)
    assert.equal(clock.set(), 0)
    const leaving = new AbortController()
    const waiting = Array.from({ length: 100 }, () => take(KIB, leaving.signal))
    assert.equal(clock.set(), 1)
    leaving.abort()
    await Promise.allSettled(waiting)
    const before = clock.set()
    await clock.advance(60_000)
    assert.equal(clock.set(), before, 'a timer is left over')
    await createBandwidth(0, clock).take(1e12, NEVER)
    assert.equal(clock.set(), before)
    assert.equal(UNLIMITED.limit, 0)
  })

  test('refuses what is no number of bytes, with and without a limit', async () => {
    for (const { take } of [UNLIMITED, createBandwidth(1, createFakeClock(0))]) {
      for (const bytes of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY])
        await assert.rejects(take(bytes, NEVER), RangeError)
      await assert.rejects(take(1, AbortSignal.abort(new Error('over'))), { message: 'over' })
    }
  })
})

suite('the bandwidth of a worker and its targets', () => {
  const limits: Readonly<Record<string, number>> = {
    ssh: 1_000_000,
    'ssh/slow': 100_000,
    'ssh/fast': 9_000_000,
    'ssh/none': 0,
  }
  const make = (own: Readonly<Record<string, number>> = limits) => {
    const clock = createFakeClock(0)
    const limitOf = (worker: string, target: string | null) => own[`${worker}/${target}`] ?? own[worker] ?? 0
    return { clock, ...createBandwidths({ clock, limitOf }) }
  }

  test('all runs of the worker share one, those of other workers do not', async () => {
    const { of } = make()
    assert.equal(of('ssh', null), of('ssh', 'any'))
    assert.equal(of('other', 'any'), UNLIMITED)
    await of('ssh', 'one').take(250_000, NEVER)
    assert.equal(await isDone(of('ssh', 'two').take(1, NEVER)), false)
  })

  test("a target's own limit holds within the worker's, and does not raise it", async () => {
    const { of, clock } = make()
    assert.equal(of('ssh', 'fast'), of('ssh', null))
    assert.equal(of('ssh', 'none'), of('ssh', null))
    assert.equal(of('ssh', 'slow').limit, 100_000)
    await of('ssh', 'slow').take(64 * KIB, NEVER)
    assert.equal(await isDone(of('ssh', 'slow').take(1_000, NEVER)), false)
    await of('ssh', 'any').take(100_000, NEVER)
    await clock.advance(1_000)
    await of('ssh', 'any').take(250_000, NEVER)
    assert.equal(await isDone(of('ssh', 'slow').take(1_000, NEVER)), false, "the worker's is used up")
  })

  test('a target may have a limit where its worker has none', async () => {
    const { of } = make({ 'ssh/slow': 1_000 })
    assert.equal(of('ssh', 'any'), UNLIMITED)
    await of('ssh', 'slow').take(64 * KIB, NEVER)
    assert.equal(await isDone(of('ssh', 'slow').take(1, NEVER)), false)
  })
})

test('a piece beyond the burst goes when its bytes are there, however the moments round', async () => {
  // Found by the property below: 147,447 bytes at 10,000 a second, looked at late, were never quite there.
  const { granted, asked } = await play(10_000, [
    { do: 'wait', ms: 4.547473508864642e-12 },
    { do: 'take', bytes: 147_447 },
    { do: 'take', bytes: 163_471 },
    { do: 'take', bytes: 149_403 },
    { do: 'stall', ms: 8_228 },
  ])
  assert.deepEqual(
    granted.map(({ number }) => number),
    [0, 1, 2],
  )
  assert.ok(asked.every(({ open }) => !open))
})

interface Granted {
  readonly at: number
  readonly bytes: number
  readonly number: number
}

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('take' as const), bytes: fc.nat({ max: 200_000 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.double({ min: 0, max: 3_000, noNaN: true }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('abort' as const), which: fc.nat({ max: 50 }) }) },
  // Timers that come late: the event loop was busy.
  { weight: 1, arbitrary: fc.record({ do: fc.constant('stall' as const), ms: fc.nat({ max: 20_000 }) }) },
)

async function play(rate: number, steps: readonly (typeof step extends fc.Arbitrary<infer T> ? T : never)[]) {
  const clock = createFakeClock(0)
  let stalled = 0
  const late: FakeClock = { ...clock, monotonic: () => clock.monotonic() + stalled }
  const { take } = createBandwidth(rate, late)
  const granted: Granted[] = []
  const asked: { controller: AbortController; bytes: number; open: boolean }[] = []
  for (const each of steps) {
    if (each.do === 'wait') await clock.advance(each.ms)
    if (each.do === 'stall') stalled += each.ms
    if (each.do === 'abort') {
      asked[each.which % Math.max(1, asked.length)]?.controller.abort(new Error('gave up'))
      // Whoever stood behind may go now: seen at its own time, not after a stall.
      await nextTurn()
    }
    if (each.do === 'take') {
      const mine = { controller: new AbortController(), bytes: each.bytes, open: true }
      const number = asked.push(mine) - 1
      void take(each.bytes, mine.controller.signal)
        .then(() => granted.push({ at: late.monotonic(), bytes: each.bytes, number }))
        .catch(() => undefined)
        .finally(() => {
          mine.open = false
        })
      // What goes at once is seen at its own time, not after a stall.
      await nextTurn()
    }
  }
  const wanted = asked.reduce((sum, { bytes }) => sum + bytes, 0)
  await clock.advance((wanted / rate) * 1000 + asked.length + 1)
  return { granted, asked }
}

suite('over any time', () => {
  test('a bandwidth lets go of at most its rate and one burst, in the order of the calls, and of everything in time', async () => {
    let waited = 0
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(10_000, 65_536, 1_000_000),
        fc.array(step, { maxLength: 60 }),
        async (rate, steps) => {
          const { granted, asked } = await play(rate, steps)
          const most = Math.max(burstOf(rate), ...asked.map(({ bytes }) => bytes))
          for (const [from, first] of granted.entries()) {
            let bytes = 0
            for (const next of granted.slice(from)) {
              bytes += next.bytes
              const may = (rate * (next.at - first.at)) / 1000 + most
              assert.ok(bytes <= may + 1e-3, `${bytes} bytes where ${may} may go`)
            }
          }
          const numbers = granted.map(({ number }) => number)
          assert.deepEqual(
            numbers,
            [...numbers].sort((a, b) => a - b),
          )
          assert.ok(
            asked.every(({ open }) => !open),
            'somebody waits longer than the bytes take',
          )
          if (granted.some(({ at }) => at > 0)) waited += 1
        },
      ),
      { numRuns: 300 },
    )
    assert.ok(waited > 50, `in ${waited} of 300 did anybody wait`)
  })
})
