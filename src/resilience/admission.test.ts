import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { PRIORITIES, type Priority } from '../core/operation.ts'
import { type Admission, type AdmissionLimits, type AdmissionPlace, createAdmission } from './admission.ts'

const WORKERS = ['a', 'b', 'c'] as const
const WHOLE: AdmissionLimits = { max_concurrent: 4, queue_size: 7 }
const OF_WORKER: Record<string, AdmissionLimits> = {
  a: { max_concurrent: 1, queue_size: 3 },
  b: { max_concurrent: 3, queue_size: 4 },
  c: { max_concurrent: 9, queue_size: 9 },
}
const limitsOf = (worker: string) => OF_WORKER[worker] as AdmissionLimits

interface Entered {
  readonly number: number
  readonly worker: string
  readonly priority: Priority
  readonly place: AdmissionPlace
  readonly controller: AbortController
  state: 'waiting' | 'running' | 'aborted' | 'released'
}

type Step =
  | { readonly do: 'enter'; readonly worker: (typeof WORKERS)[number]; readonly priority: Priority }
  | { readonly do: 'release' | 'abort' | 'releaseTwice'; readonly which: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant('enter' as const),
    worker: fc.constantFrom(...WORKERS),
    priority: fc.constantFrom(...PRIORITIES),
  }),
  fc.record({ do: fc.constantFrom('release' as const, 'abort' as const, 'releaseTwice' as const), which: fc.nat(30) }),
)

/** Walks a schedule as runs do: an aborted one releases its place when its wait rejects. */
async function walk(admission: Admission, steps: readonly Step[], look: (all: readonly Entered[]) => void) {
  const all: Entered[] = []
  const started: Entered[] = []
  const settle = () => new Promise((resolve) => setImmediate(resolve))
  for (const each of steps) {
    if (each.do === 'enter') {
      try {
        const place = admission.enter(each.worker, each.priority)
        const entered: Entered = {
          ...each,
          number: all.length,
          place,
          controller: new AbortController(),
          state: 'waiting',
        }
        all.push(entered)
        place.ready(entered.controller.signal).then(
          () => {
            entered.state = 'running'
            started.push(entered)
          },
          () => {
            entered.state = 'aborted'
            place.release()
          },
        )
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'MHV_ADMISSION_FULL')
      }
    } else {
      const open = all.filter((entered) => entered.state === 'waiting' || entered.state === 'running')
      const chosen = open[each.which % Math.max(1, open.length)]
      if (chosen === undefined) continue
      if (each.do === 'abort') chosen.controller.abort(new Error('gone'))
      else {
        // A run that ends without having waited for its slot releases its place in the queue.
        chosen.state = 'released'
        chosen.place.release()
        if (each.do === 'releaseTwice') chosen.place.release()
      }
    }
    await settle()
    look(all)
  }
  return { all, started }
}

const count = (all: readonly Entered[], worker?: string) =>
  all.filter((each) => each.state === 'running' && (worker === undefined || each.worker === worker)).length

function checkLimits(all: readonly Entered[]): void {
  assert.ok(count(all) <= WHOLE.max_concurrent)
  for (const worker of WORKERS) assert.ok(count(all, worker) <= limitsOf(worker).max_concurrent, worker)
}

suite('admission', () => {
  test('never exceeds a limit, leaks no slot and leaves none idle, whatever is entered, aborted and released', async () => {
    const check = (create: () => Admission) =>
      fc.asyncProperty(fc.array(step, { maxLength: 60, size: 'max' }), async (steps) => {
        const admission = create()
        const { all } = await walk(admission, steps, (entered) => {
          checkLimits(entered)
          assert.equal(admission.counts().running, count(entered))
          for (const waiting of entered.filter((each) => each.state === 'waiting')) {
            const room =
              count(entered) < WHOLE.max_concurrent &&
              count(entered, waiting.worker) < limitsOf(waiting.worker).max_concurrent
            assert.ok(!room, `run ${waiting.number} waits although there is room`)
          }
        })
        for (const each of all) each.place.release()
        for (const worker of [undefined, ...WORKERS]) {
          assert.deepEqual(admission.counts(worker), { running: 0, queued: 0 })
        }
      })
    await fc.assert(
      check(() => createAdmission(WHOLE, limitsOf)),
      { numRuns: 300 },
    )

    // Negative control: one that lets everybody in is found out.
    const place: AdmissionPlace = {
      immediate: true,
      position: 0,
      ready: async () => undefined,
      release: () => undefined,
    }
    const open: Admission = { enter: () => place, counts: () => ({ running: 0, queued: 0 }) }
    await assert.rejects(
      fc.assert(
        check(() => open),
        { numRuns: 300 },
      ),
    )
  })

  test('within a worker and a priority, first come is first served', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60, size: 'max' }), async (steps) => {
        const { started } = await walk(createAdmission(WHOLE, limitsOf), steps, () => undefined)
        const kinds = Map.groupBy(started, ({ worker, priority }) => `${worker} ${priority}`)
        for (const ofKind of kinds.values()) {
          const numbers = ofKind.map(({ number }) => number)
          assert.deepEqual(
            numbers,
            numbers.toSorted((a, b) => a - b),
          )
        }
      }),
      { numRuns: 300 },
    )
  })

  test('a higher priority goes first, and nobody who comes later overtakes within the same one', async () => {
    const admission = createAdmission({ max_concurrent: 1, queue_size: 9 }, () => ({
      max_concurrent: 9,
      queue_size: 9,
    }))
    const order: string[] = []
    const enter = (name: string, priority: Priority) => {
      const place = admission.enter('a', priority)
      void place.ready(new AbortController().signal).then(() => order.push(name))
      return place
    }
    const first = enter('first', 'low')
    const rest = [
      enter('low', 'low'),
      enter('normal1', 'normal'),
      enter('normal2', 'normal'),
      enter('critical', 'critical'),
    ]
    assert.deepEqual(
      rest.map((place) => place.position),
      [0, 0, 1, 0],
    )
    const turns = new Map([
      ['first', first],
      ...['low', 'normal1', 'normal2', 'critical'].map((name, index) => [name, rest[index]] as const),
    ])
    for (let turn = 0; turn < 5; turn++) {
      await new Promise((resolve) => setImmediate(resolve))
      turns.get(order[turn] ?? '')?.release()
    }
    assert.deepEqual(order, ['first', 'critical', 'normal1', 'normal2', 'low'])
    assert.deepEqual(admission.counts(), { running: 0, queued: 0 })
  })

  test('a full queue refuses with the name of its limit and when to come back', () => {
    const admission = createAdmission(WHOLE, limitsOf)
    for (let entered = 0; entered < 4; entered++) admission.enter('a', 'normal')
    assert.throws(() => admission.enter('a', 'critical'), {
      code: 'MHV_ADMISSION_FULL',
      retryAfter: 1,
      message: /^a\.admission: 1 of 1 slots .* 3 of 3 places/,
      details: { limit: 'a.admission.queue_size', position: 4, max_concurrent: 1, queue_size: 3 },
    })
    for (let entered = 0; entered < 7; entered++) admission.enter(entered < 3 ? 'c' : 'b', 'normal')
    assert.throws(() => admission.enter('c', 'normal'), {
      code: 'MHV_ADMISSION_FULL',
      details: { limit: 'admission.queue_size', position: 8, max_concurrent: 4, queue_size: 7 },
    })
    // The refusal took nothing: what was counted before is counted still.
    assert.deepEqual(admission.counts(), { running: 4, queued: 7 })
  })

  test('a slot that comes in the same moment as the abort goes to the next', async () => {
    const admission = createAdmission({ max_concurrent: 1, queue_size: 9 }, () => ({
      max_concurrent: 1,
      queue_size: 9,
    }))
    const holder = admission.enter('a', 'normal')
    const gone = admission.enter('a', 'normal')
    const next = admission.enter('a', 'normal')
    const controller = new AbortController()
    const waiting = gone.ready(controller.signal).catch(() => gone.release())
    holder.release()
    controller.abort(new Error('gone'))
    await waiting
    await next.ready(AbortSignal.timeout(1_000))
    gone.release()
    assert.deepEqual(admission.counts('a'), { running: 1, queued: 0 })
  })

  test('who was aborted before waiting is told so', async () => {
    const admission = createAdmission({ max_concurrent: 1, queue_size: 9 }, () => ({
      max_concurrent: 1,
      queue_size: 9,
    }))
    admission.enter('a', 'normal')
    const reason = new Error('gone')
    await assert.rejects(admission.enter('a', 'normal').ready(AbortSignal.abort(reason)), reason)
  })
})
