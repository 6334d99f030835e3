import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { createAdmissionModel, idOf, levelsOf } from '../../test/helpers/admission-model.ts'
import { PRIORITIES } from '../core/operation.ts'
import { createFakeClock, type FakeClock } from '../testing/fake-clock.ts'
import {
  type AdmissionLimits,
  type AdmissionPlace,
  type AdmissionRequest,
  createAdmission,
  type LevelName,
} from './admission.ts'

const AGING_SECONDS = 3
/** Long enough that no deadline falls into a schedule. */
const NEVER = 1e12

const limits = (max_concurrent: number, queue_size: number, rate: number | null = null): AdmissionLimits => ({
  max_concurrent,
  queue_size,
  max_queue_seconds: null,
  rate_per_second: rate,
  rate_burst: 2,
  full: 'reject_new',
})

/** Each level is the narrow one for some schedules. */
const setting = fc.record({
  process: fc.record({ max: fc.integer({ min: 1, max: 8 }), rate: fc.constantFrom(null, 4) }),
  worker: fc.record({ max: fc.integer({ min: 1, max: 6 }), rate: fc.constantFrom(null, null, 2) }),
  target: fc.record({ max: fc.integer({ min: 1, max: 4 }), rate: fc.constantFrom(null, null, 1) }),
  principal: fc.record({ max: fc.integer({ min: 1, max: 5 }), rate: fc.constantFrom(null, null, 2) }),
  queue: fc.integer({ min: 0, max: 30 }),
})
type Setting = typeof setting extends fc.Arbitrary<infer T> ? T : never

const limitsOf = (given: Setting) => (level: LevelName) => {
  const { max, rate } = given[level.kind]
  return limits(max, given.queue, rate)
}

type Step =
  | { readonly do: 'enter'; readonly request: AdmissionRequest }
  | { readonly do: 'release' | 'abort' | 'both'; readonly which: number }
  | { readonly do: 'advance'; readonly ms: number }

const request: fc.Arbitrary<AdmissionRequest> = fc.record({
  worker: fc.constantFrom('a', 'b'),
  target: fc.constantFrom(null, 'one', 'two', 'three'),
  principal: fc.constantFrom('alice', 'bob', 'carol'),
  priority: fc.constantFrom(...PRIORITIES),
  deadline: fc.constant(NEVER),
})
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant('enter' as const), request }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom('release' as const, 'abort' as const), which: fc.nat(30) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.nat(2_000) }) },
)
const steps = fc.array(step, { maxLength: 80, size: 'max' })

interface Entered {
  readonly number: number
  readonly request: AdmissionRequest
  readonly place: AdmissionPlace
}

/** Looks at what runs, knowing nothing but the limits: every level, after every step. */
function checkLimits(given: Setting, running: readonly Entered[], grants: ReadonlyMap<string, number[]>): void {
  const counts = new Map<string, { level: LevelName; running: number }>()
  for (const { request: of } of running) {
    for (const level of levelsOf(of)) {
      const count = counts.get(idOf(level)) ?? { level, running: 0 }
      count.running += 1
      counts.set(idOf(level), count)
    }
  }
  for (const { level, running: now } of counts.values()) {
    assert.ok(now <= limitsOf(given)(level).max_concurrent, `${now} run at ${idOf(level)}`)
  }
  for (const [id, times] of grants) {
    const { rate_per_second: rate, rate_burst: burst } = limitsOf(given)(JSON.parse(id))
    if (rate === null) continue
    const last = times.at(-1) as number
    for (const [index, first] of times.entries()) {
      const allowed = burst + ((last - first) * rate) / 1000 + 1e-6
      assert.ok(times.length - index <= allowed, `${times.length - index} began within ${last - first} ms at ${id}`)
    }
  }
}

/** Walks a schedule; `composed` are the limits that admission is made with, which a negative control falsifies. */
async function walk(
  given: Setting,
  composed: (level: LevelName) => AdmissionLimits,
  all: readonly Step[],
  /** False: only the limits are looked at, and not whether the model does the same. */
  compare: boolean,
) {
  const clock: FakeClock = createFakeClock(0)
  const admission = createAdmission({ clock, limitsOf: composed, agingSeconds: AGING_SECONDS })
  const model = createAdmissionModel(limitsOf(given), AGING_SECONDS)
  const entered: Entered[] = []
  const granted: number[] = []
  const grants = new Map<string, number[]>()
  const running = () => entered.filter(({ place }) => place.state === 'granted')

  const note = (one: Entered) => {
    granted.push(one.number)
    for (const level of levelsOf(one.request)) {
      const times = grants.get(idOf(level)) ?? []
      grants.set(idOf(level), [...times, one.place.decidedAt])
    }
  }

  function enter(asked: AdmissionRequest, number: number): void {
    const expected = model.enter(number, asked, clock.monotonic())
    let place: AdmissionPlace
    try {
      place = admission.enter(asked)
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'MHV_ADMISSION_FULL')
      if (compare) assert.equal(expected, 'full')
      return
    }
    if (compare) assert.equal(place.state, expected)
    const one = { number, request: asked, place }
    entered.push(one)
    place.listen({ granted: () => note(one), ended: () => undefined })
  }

  function act(each: Step & { which: number }): void {
    const state = each.do === 'release' ? 'granted' : 'queued'
    const open = entered.filter(({ place }) => place.state === state)
    const chosen = open[each.which % Math.max(1, open.length)]
    if (chosen === undefined) return
    if (each.do === 'release') {
      model.release(chosen.number, clock.monotonic())
      chosen.place.release()
      // Once more does nothing.
      chosen.place.release()
    } else {
      model.leave(chosen.number, clock.monotonic())
      chosen.place.leave(new Error('gone'))
    }
  }

  for (const [number, each] of all.entries()) {
    if (each.do === 'enter') enter(each.request, number)
    else if (each.do === 'advance') {
      // In small steps: the model has no timers.
      for (let ms = 0; ms < each.ms; ms += 50) {
        await clock.advance(50)
        model.settle(clock.monotonic())
      }
    } else act(each as Step & { which: number })
    await clock.advance(0)
    checkLimits(given, running(), grants)
    if (!compare) continue
    assert.deepEqual(
      running().map(({ number: of }) => of),
      model
        .running()
        .map(({ number: of }) => of)
        .toSorted((a, b) => a - b),
    )
  }
  return { admission, entered, granted, model, clock }
}

suite('RES-01: no more at once than any limit allows, at all four levels', () => {
  test('over random schedules, and whoever may go goes at once and in the right order', async () => {
    await fc.assert(
      fc.asyncProperty(setting, steps, async (given, all) => {
        const { admission, entered, granted, model } = await walk(given, limitsOf(given), all, true)
        assert.deepEqual(granted, model.granted)
        for (const { place } of entered) place.release()
        for (const worker of [undefined, 'a', 'b'])
          assert.deepEqual(admission.counts(worker), { running: 0, queued: 0 })
      }),
      { numRuns: 300 },
    )
  })

  for (const kind of ['process', 'worker', 'target', 'principal'] as const) {
    test(`negative control: one slot too many at the level ${kind} is found out`, async () => {
      const offByOne = (given: Setting) => (level: LevelName) => {
        const right = limitsOf(given)(level)
        return level.kind === kind ? { ...right, max_concurrent: right.max_concurrent + 1 } : right
      }
      await assert.rejects(
        fc.assert(
          fc.asyncProperty(setting, steps, async (given, all) => {
            await walk(given, offByOne(given), all, false)
          }),
          { numRuns: 300 },
        ),
      )
    })
  }

  test('negative control: a bucket that fills too fast is found out', async () => {
    const tooFast = (given: Setting) => (level: LevelName) => {
      const right = limitsOf(given)(level)
      return { ...right, rate_per_second: right.rate_per_second === null ? null : right.rate_per_second * 1.5 }
    }
    await assert.rejects(
      fc.assert(
        fc.asyncProperty(setting, steps, async (given, all) => {
          await walk(given, tooFast(given), all, false)
        }),
        { numRuns: 300 },
      ),
    )
  })
})
