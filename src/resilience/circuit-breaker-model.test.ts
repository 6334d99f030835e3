import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { Clock } from '../core/clock.ts'
import { createMemoryStore } from '../store/memory.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import type { BreakerLimits, BreakerPass, ForcedState } from './circuit-breaker.ts'
import { type CircuitBreakers, createCircuitBreakers } from './circuit-breakers.ts'

/** RES-05: the breaker beside a model of it that keeps every event and counts them anew each time. */

type Outcome = 'success' | 'failure' | 'neutral'
type Step =
  | { readonly do: 'enter' }
  | { readonly do: 'tell'; readonly which: number; readonly outcome: Outcome }
  | { readonly do: 'pass'; readonly ms: number }
  | { readonly do: 'jump'; readonly ms: number }
  | { readonly do: 'force'; readonly state: ForcedState }
  | { readonly do: 'restart' }

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.constant<Step>({ do: 'enter' }) },
  {
    weight: 10,
    arbitrary: fc.record({
      do: fc.constant('tell' as const),
      which: fc.nat(9),
      outcome: fc.constantFrom<Outcome>('failure', 'failure', 'success', 'neutral'),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.oneof(fc.nat(3_000), fc.nat(200_000)) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant('jump' as const), ms: fc.integer({ min: -1e9, max: 1e9 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant('force' as const),
      state: fc.constantFrom<ForcedState>('open', 'closed', 'auto', 'auto'),
    }),
  },
  { weight: 1, arbitrary: fc.constant<Step>({ do: 'restart' }) },
)

const limits: fc.Arbitrary<BreakerLimits> = fc.record({
  failure_threshold: fc.integer({ min: 1, max: 4 }),
  window_seconds: fc.constantFrom(1, 10, 100),
  minimum_calls: fc.integer({ min: 1, max: 6 }),
  failure_ratio: fc.constantFrom(0, 0.3, 0.5, 1),
  recovery_timeout: fc.constantFrom(1, 60),
  half_open_max_calls: fc.integer({ min: 1, max: 3 }),
  success_threshold: fc.integer({ min: 1, max: 3 }),
})

/** A call that the model let in. */
interface ModelPass {
  readonly trial: boolean
  readonly life: number
}

/** What the documentation says of a breaker, written down as plainly as can be. Times in milliseconds. */
function createModel(limits: BreakerLimits, time: () => number, wall: () => number) {
  const part = () => Math.floor(time() / (limits.window_seconds * 100))
  let outcomes: { readonly part: number; readonly failed: boolean }[] = []
  let openUntil: number | null = null
  let forced = null as 'open' | 'closed' | null
  let life = 0
  let trials: ModelPass[] = []
  let successes = 0
  let written: { forced: 'open' | 'closed' | null; until: number | null } = { forced: null, until: null }

  const state = () => forced ?? (openUntil === null ? 'closed' : time() < openUntil ? 'open' : 'half-open')
  const counted = () => outcomes.filter((outcome) => outcome.part > part() - 10)

  function enterState(until: number | null): void {
    openUntil = until
    outcomes = []
    trials = []
    successes = 0
    life += 1
    written = { forced, until: until === null ? null : wall() + (until - time()) }
  }
  const openNow = () => enterState(time() + limits.recovery_timeout * 1000)

  return {
    state,
    failures: () => counted().filter(({ failed }) => failed).length,
    enter(): ModelPass | null {
      const now = state()
      if (now === 'open' || (now === 'half-open' && trials.length >= limits.half_open_max_calls)) return null
      const pass = { trial: now === 'half-open', life }
      if (pass.trial) trials.push(pass)
      return pass
    },
    tell(pass: ModelPass, outcome: Outcome): void {
      if (pass.life !== life) return
      trials = trials.filter((each) => each !== pass)
      if (outcome === 'neutral') return
      if (pass.trial) {
        if (outcome === 'failure') openNow()
        else if (++successes >= limits.success_threshold) enterState(null)
        return
      }
      outcomes.push({ part: part(), failed: outcome === 'failure' })
      const [calls, failures] = [counted().length, this.failures()]
      const enough = calls >= limits.minimum_calls && failures >= limits.failure_threshold
      if (outcome === 'failure' && forced === null && enough && failures / calls >= limits.failure_ratio) openNow()
    },
    force(to: ForcedState): void {
      const wanted = to === 'auto' ? null : to
      if (wanted === forced) return
      forced = wanted
      enterState(null)
    },
    restart(): void {
      const { forced: held, until } = written
      const left = until === null ? 0 : Math.min(Math.max(until - wall(), 0), limits.recovery_timeout * 1000)
      const kept = written
      forced = held
      enterState(until === null ? null : time() + left)
      // Nothing has changed, so nothing is written anew.
      written = kept
    },
  }
}

/** Both take the same steps; throws where they differ. `real` may have other limits, to see that this is noticed. */
async function compare(
  steps: readonly Step[],
  model: BreakerLimits,
  real: BreakerLimits = model,
): Promise<Set<string>> {
  let time = 0
  let shift = 0
  const wall = () => 1e12 + time + shift
  const clock: Clock = { ...createFakeClock(0), now: wall, monotonic: () => time }
  const store = createMemoryStore(clock)
  const quiet = () => undefined
  const log = { debug: quiet, info: quiet, warn: quiet, error: assert.fail }
  const start = () => createCircuitBreakers({ clock, log, store, limitsOf: () => real })
  let breakers: CircuitBreakers = start()
  const expected = createModel(model, () => time, wall)
  let passes: { readonly real: BreakerPass; readonly model: ModelPass }[] = []

  const acts: { readonly [D in Step['do']]: (step: Extract<Step, { do: D }>) => unknown } = {
    enter() {
      const wanted = expected.enter()
      let got: BreakerPass | null = null
      try {
        got = breakers.of('w', 't', real).enter()
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'MHV_BREAKER_OPEN')
      }
      assert.equal(got?.trial, wanted?.trial, 'a call was let in, or not, or as another kind')
      if (got !== null && wanted !== null) passes.push({ real: got, model: wanted })
    },
    tell({ which, outcome }) {
      const [pass] = passes.splice(which % Math.max(1, passes.length), 1)
      pass?.real[outcome]()
      if (pass !== undefined) expected.tell(pass.model, outcome)
    },
    pass({ ms }) {
      time += ms
    },
    jump({ ms }) {
      shift += ms
    },
    async force({ state }) {
      expected.force(state)
      await breakers.force('w', 't', state)
    },
    async restart() {
      await breakers.flush()
      expected.restart()
      breakers = start()
      await breakers.load()
      // Calls that were under way have gone with the process.
      passes = []
    },
  }

  const seen = new Set<string>()
  for (const each of steps) {
    const before = expected.state()
    await (acts[each.do] as (step: Step) => unknown)(each)
    const view = breakers.of('w', 't', real).view()
    assert.equal(view.state, expected.state(), JSON.stringify(each))
    if (view.state === 'closed') assert.equal(view.failures, expected.failures(), JSON.stringify(each))
    seen.add(`${each.do}: ${before}>${view.state}`)
  }
  return seen
}

const long = { maxLength: 120, size: 'max' } as const

suite('the breaker and its model', () => {
  test('RES-05: they never differ, under random calls, outcomes, times, clock jumps, orders and restarts', async () => {
    const seen = new Set<string>()
    await fc.assert(
      fc.asyncProperty(fc.array(step, long), limits, async (steps, set) => {
        for (const change of await compare(steps, set)) seen.add(change)
      }),
      { numRuns: 500 },
    )
    for (const change of [
      'tell: closed>open',
      'pass: open>half-open',
      'tell: half-open>open',
      'tell: half-open>closed',
      'restart: open>open',
      'restart: half-open>open',
      'force: closed>open',
    ]) {
      assert.ok(seen.has(change), `it never came to ${change}: ${[...seen].sort()}`)
    }
  })

  test('RES-05: negative control: a breaker that has any one limit wrong is found out', async () => {
    const base: BreakerLimits = {
      failure_threshold: 2,
      window_seconds: 10,
      minimum_calls: 3,
      failure_ratio: 0.5,
      recovery_timeout: 60,
      half_open_max_calls: 2,
      success_threshold: 2,
    }
    const wrong: BreakerLimits = {
      failure_threshold: 3,
      window_seconds: 100,
      minimum_calls: 4,
      failure_ratio: 0.7,
      recovery_timeout: 61,
      half_open_max_calls: 3,
      success_threshold: 1,
    }
    for (const name of Object.keys(base) as (keyof BreakerLimits)[]) {
      const real = { ...base, [name]: wrong[name] }
      const property = fc.asyncProperty(fc.array(step, long), async (steps) => {
        await compare(steps, base, real)
      })
      const { failed, errorInstance } = await fc.check(property, { numRuns: 5_000, endOnFailure: true })
      assert.ok(failed && errorInstance instanceof assert.AssertionError, `nobody noticed another ${name}`)
    }
  })
})
