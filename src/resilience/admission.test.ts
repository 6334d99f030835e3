import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import type { Priority } from '../core/operation.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import {
  type Admission,
  type AdmissionKind,
  type AdmissionLimits,
  type AdmissionPlace,
  type AdmissionRequest,
  createAdmission,
} from './admission.ts'

const WIDE: AdmissionLimits = {
  max_concurrent: 1_000,
  queue_size: 1_000,
  max_queue_seconds: null,
  rate_per_second: null,
  rate_burst: 1,
  full: 'reject_new',
}

type Own = Partial<Record<AdmissionKind, Partial<AdmissionLimits>>>

function fresh(own: Own, agingSeconds = 10) {
  const clock = createFakeClock(1_000_000)
  const admission = createAdmission({ clock, limitsOf: ({ kind }) => ({ ...WIDE, ...own[kind] }), agingSeconds })
  const enter = (more: Partial<AdmissionRequest> = {}) =>
    admission.enter({
      worker: 'ssh',
      target: 'web1',
      principal: 'alice',
      priority: 'normal',
      deadline: clock.now() + 3_600_000,
      ...more,
    })
  return { clock, admission, enter }
}

/** Gives slots back as they are taken, and tells in which order they were. */
async function drain(places: ReadonlyMap<string, AdmissionPlace>): Promise<string[]> {
  const order: string[] = []
  for (const [name, place] of places) place.listen({ granted: () => order.push(name), ended: () => undefined })
  for (let next = 0; next < places.size; next++) {
    await turn()
    places.get(order[next] ?? '')?.release()
  }
  return order
}

const code =
  (expected: string, facts: Record<string, unknown> = {}) =>
  (error: unknown) => {
    const { code: found, details } = error as { code: string; details: Record<string, unknown> }
    assert.equal(found, expected)
    assert.deepEqual({ ...details, ...facts }, { ...details })
    return true
  }

function empty(admission: Admission): void {
  assert.deepEqual(admission.counts(), { running: 0, queued: 0 })
  const kinds = admission.kinds()
  assert.deepEqual([kinds.target.levels, kinds.principal.levels], [0, 0])
}

suite('RES-04: priorities', () => {
  test('RES-04: a higher priority goes first, and within one whoever came first', async () => {
    const { enter, admission } = fresh({ process: { max_concurrent: 1 } })
    const names = ['low', 'normal 1', 'normal 2', 'critical'] as const
    const places = new Map<string, AdmissionPlace>([['first', enter({ priority: 'low' })]])
    for (const name of names) places.set(name, enter({ priority: name.split(' ')[0] as Priority }))
    assert.deepEqual(
      [...places.values()].map(({ position }) => position),
      [0, 0, 0, 1, 0],
    )
    assert.deepEqual(await drain(places), ['first', 'critical', 'normal 1', 'normal 2', 'low'])
    empty(admission)
  })

  test('RES-04: low is not starved: however many of a higher priority keep coming, it waits for two aging times', async () => {
    const waited = async (agingSeconds: number) => {
      const { clock, enter } = fresh({ process: { max_concurrent: 1 } }, agingSeconds)
      let running = enter({ priority: 'critical' })
      const low = enter({ priority: 'low' })
      const critical: AdmissionPlace[] = []
      // Each second one ends and two come: without aging, low would wait for ever.
      for (let second = 0; second < 200 && low.state === 'queued'; second++) {
        critical.push(enter({ priority: 'critical' }), enter({ priority: 'critical' }))
        await clock.advance(1_000)
        running.release()
        running = critical.find(({ state }) => state === 'granted') ?? low
      }
      return low.state === 'granted' ? low.trace().waited_ms / 1000 : null
    }
    // Two steps up, then behind the criticals that came before that.
    assert.equal(await waited(10), 41)
    // Negative control: aging so slow that there is none.
    assert.equal(await waited(100_000), null)
  })

  test('RES-04: until it has aged, a lower priority never goes before a higher one', async () => {
    const { clock, enter } = fresh({ process: { max_concurrent: 1 } }, 10)
    const places = new Map([['first', enter()]])
    places.set('low', enter({ priority: 'low' }))
    await clock.advance(9_999)
    places.set('normal', enter())
    await clock.advance(2)
    // By now the low one counts as normal, and came before this one.
    places.set('late normal', enter())
    assert.deepEqual(await drain(places), ['first', 'normal', 'low', 'late normal'])
  })
})

suite('admission: full queues', () => {
  test('a refusal names the limit, the position, and when to come back by what was seen', async () => {
    const { clock, enter, admission } = fresh({ worker: { max_concurrent: 1, queue_size: 3 } })
    const running = enter()
    const places = [enter(), enter(), enter()]
    assert.throws(() => enter({ priority: 'critical' }), {
      code: 'MHV_ADMISSION_FULL',
      retryAfter: 1,
      message: /^ssh\.admission: 1 of 1 slots .* 3 of 3 places/,
      details: {
        limit: 'ssh.admission.queue_size',
        level: 'worker',
        name: 'ssh',
        position: 4,
        max_concurrent: 1,
        queue_size: 3,
      },
    })
    running.release()
    // One run every five seconds: four of them are twenty seconds.
    for (let turns = 0; turns < 40; turns++) {
      places.push(enter())
      await clock.advance(5_000)
      places.find(({ state }) => state === 'granted')?.release()
    }
    enter()
    assert.throws(
      () => enter(),
      (error: { retryAfter?: number }) => {
        assert.ok(Math.abs((error.retryAfter ?? 0) - 20) <= 2, `${error.retryAfter} s`)
        return true
      },
    )
    assert.deepEqual(admission.outcomes().rejected, { process: 0, worker: 2, target: 0, principal: 0 })
  })

  test('each level refuses for itself', () => {
    for (const kind of ['process', 'worker', 'target', 'principal'] as const) {
      const { enter, admission } = fresh({ [kind]: { max_concurrent: 1, queue_size: 0 } })
      enter()
      assert.throws(() => enter(), code('MHV_ADMISSION_FULL', { level: kind, position: 1 }))
      const others = { worker: 'mqtt', target: 'web2', principal: 'bob' }
      if (kind === 'process') assert.throws(() => enter(others))
      else assert.equal(enter(others).immediate, true)
      assert.equal(admission.counts().queued, 0)
    }
  })

  test('shed_low ends the low run that came last, and refuses when there is none', async () => {
    const { enter, admission } = fresh({ target: { max_concurrent: 1, queue_size: 2, full: 'shed_low' } })
    const running = enter()
    const [older, newer] = [enter({ priority: 'low' }), enter({ priority: 'low' })]
    assert.throws(() => enter({ priority: 'low' }), code('MHV_ADMISSION_FULL'))
    const ended = assert.rejects(newer.ready(), code('MHV_ADMISSION_SHED', { limit: 'admission.target.queue_size' }))
    const normal = enter()
    await ended
    assert.deepEqual([older.state, normal.state], ['queued', 'queued'])
    enter({ priority: 'critical' })
    assert.equal(older.state, 'ended')
    assert.throws(() => enter({ priority: 'critical' }), code('MHV_ADMISSION_FULL'))
    assert.deepEqual(admission.outcomes().shed, { process: 0, worker: 0, target: 2, principal: 0 })
    running.release()
    assert.equal(admission.counts().running, 1)
  })

  test('shed_low ends nothing where another full queue would refuse all the same', () => {
    const { enter } = fresh({
      target: { max_concurrent: 1, queue_size: 1, full: 'shed_low' },
      principal: { max_concurrent: 1, queue_size: 1 },
    })
    enter()
    const low = enter({ priority: 'low', principal: 'bob' })
    enter({ target: 'web2' })
    assert.throws(() => enter(), code('MHV_ADMISSION_FULL', { level: 'principal' }))
    assert.equal(low.state, 'queued')
  })

  test('wait keeps the call outside until there is a place, as many as there are places', async () => {
    const { enter, admission } = fresh({ worker: { max_concurrent: 1, queue_size: 1, full: 'wait' } })
    const running = enter()
    const queued = enter()
    const outside = enter()
    assert.deepEqual([outside.state, admission.counts().queued], ['outside', 1])
    assert.throws(() => enter(), code('MHV_ADMISSION_FULL', { position: 3 }))
    const entered = outside.entered()
    running.release()
    await entered
    assert.deepEqual([queued.state, outside.state], ['granted', 'queued'])
    queued.release()
    assert.equal(outside.state, 'granted')
    outside.release()
    empty(admission)
  })

  test('a call that is outside leaves without a trace', async () => {
    const { enter, admission } = fresh({ worker: { max_concurrent: 1, queue_size: 0, full: 'wait' } })
    const running = enter()
    const outside = enter()
    const reason = new Error('gone')
    outside.leave(reason)
    await assert.rejects(outside.ready(), reason)
    outside.release()
    running.release()
    empty(admission)
  })
})

suite('admission: time in the queue', () => {
  test('a run that is older than max_queue_seconds is ended', async () => {
    const { clock, enter, admission } = fresh({
      process: { max_concurrent: 1 },
      principal: { max_queue_seconds: 5 },
      target: { max_queue_seconds: 7 },
    })
    enter()
    const late = enter()
    const ended = assert.rejects(
      late.ready(),
      code('MHV_ADMISSION_EXPIRED', { limit: 'admission.principal.max_queue_seconds', waited_ms: 5_000 }),
    )
    await clock.advance(4_999)
    assert.equal(late.state, 'queued')
    await clock.advance(1)
    await ended
    late.release()
    assert.deepEqual(admission.counts(), { running: 1, queued: 0 })
    assert.equal(admission.outcomes().expired.principal, 1)
  })

  test('the deadline counts the time in the queue', async () => {
    const { clock, enter, admission } = fresh({ process: { max_concurrent: 1 }, worker: { max_queue_seconds: 60 } })
    enter()
    const late = enter({ deadline: clock.now() + 3_000 })
    const ended = assert.rejects(late.ready(), code('MHV_RUN_QUEUE_TIMEOUT'))
    await clock.advance(3_000)
    await ended
    assert.equal(admission.counts().queued, 0)
  })

  test('a slot that comes in the same moment as the end of the wait goes to one of the two, never to both', async () => {
    const { enter, admission } = fresh({ process: { max_concurrent: 1 } })
    const holder = enter()
    const gone = enter()
    const next = enter()
    const waiting = gone.ready().catch(() => gone.release())
    holder.release()
    // It has its slot: leaving comes too late, and releasing it gives it to the next.
    gone.leave(new Error('gone'))
    await waiting
    assert.equal(gone.state, 'granted')
    gone.release()
    await next.ready()
    gone.release()
    assert.deepEqual(admission.counts(), { running: 1, queued: 0 })
  })

  test('a late timer lets nobody overtake', () => {
    const { clock, enter } = fresh({ worker: { rate_per_second: 1 } })
    let elapsed = 0
    Object.assign(clock, { monotonic: () => elapsed })
    enter().release()
    const waiting = enter()
    elapsed = 1_000
    // Its token is there, and the timer has not fired yet.
    const newcomer = enter()
    assert.deepEqual([waiting.state, newcomer.state], ['granted', 'queued'])
  })
})

suite('admission: rates', () => {
  test('a burst at once, then one per interval', async () => {
    const { clock, enter } = fresh({ target: { rate_per_second: 2, rate_burst: 3 } })
    const begun: number[] = []
    const start = clock.now()
    for (let count = 0; count < 7; count++) {
      const place = enter()
      place.listen({
        granted() {
          begun.push(clock.now() - start)
          place.release()
        },
        ended: () => undefined,
      })
    }
    await clock.advance(5_000)
    assert.deepEqual(begun, [0, 0, 0, 500, 1_000, 1_500, 2_000])
  })

  test('whoever waits for a rate is told so', () => {
    const { enter } = fresh({ worker: { rate_per_second: 0.1, queue_size: 1 } })
    enter().release()
    assert.equal(enter().limit, 'ssh.admission.rate_per_second')
    assert.throws(() => enter(), { code: 'MHV_ADMISSION_FULL', retryAfter: 20 })
  })
})

suite('admission: what it tells', () => {
  test('the limits that held a run back, with their times', async () => {
    const { clock, enter } = fresh({ target: { max_concurrent: 1 }, principal: { max_concurrent: 1 } })
    const onTarget = enter({ principal: 'bob' })
    const late = enter()
    await clock.advance(2_000)
    const ofPrincipal = enter({ target: 'web2' })
    onTarget.release()
    assert.equal(late.state, 'queued')
    await clock.advance(3_000)
    ofPrincipal.release()
    assert.deepEqual(late.trace(), {
      waited_ms: 5_000,
      limits: [
        { limit: 'admission.target.max_concurrent', waited_ms: 2_000 },
        { limit: 'admission.principal.max_concurrent', waited_ms: 3_000 },
      ],
    })
  })

  test('RES-01: a principal or target is not forgotten while a call of it waits for a place in a queue', async () => {
    for (const kind of ['principal', 'target'] as const) {
      const { admission, enter } = fresh({
        process: { max_concurrent: 3, queue_size: 1, full: 'wait' },
        [kind]: { max_concurrent: 1 },
      })
      const one = (name: string) => enter({ principal: 'p', target: 't', [kind]: name })
      const running = ['a', 'b', 'c'].map(one)
      const others = [one('d')]
      const [gone, waiting] = [one('alice'), one('alice')]
      assert.deepEqual([gone?.state, waiting?.state], ['outside', 'outside'])
      gone?.leave('went away')
      for (const place of running) place.release()
      assert.equal(waiting?.state, 'granted')
      const second = one('alice')
      assert.equal(second.state, 'queued', kind)
      for (const place of [...others, waiting, second]) place?.release()
      empty(admission)
    }
  })

  test('those of a run that was shed are forgotten too', () => {
    const asked: string[] = []
    const admission = createAdmission({
      clock: createFakeClock(0),
      limitsOf(level) {
        if (level.kind === 'principal') asked.push(level.principal)
        return { ...WIDE, max_concurrent: 1, queue_size: 1, full: 'shed_low' }
      },
      agingSeconds: 10,
    })
    const enter = (principal: string, priority: Priority) =>
      admission.enter({ worker: 'ssh', target: null, principal, priority, deadline: 3_600_000 })
    const places = [enter('a', 'normal'), enter('lowly', 'low'), enter('b', 'normal')]
    for (const place of places) place.release()
    enter('lowly', 'normal')
    // Limits are asked for when a level is made: this one was made anew.
    assert.deepEqual(asked, ['a', 'lowly', 'b', 'lowly'])
  })

  test('targets and principals that nothing is left of are forgotten', async () => {
    const { clock, enter, admission } = fresh({ process: { max_concurrent: 1 }, target: { rate_per_second: 1 } })
    const places = Array.from({ length: 50 }, (_, index) => enter({ target: `web${index}`, principal: `p${index}` }))
    assert.equal(admission.kinds().target.levels, 50)
    await drain(new Map(places.map((place, index) => [String(index), place])))
    await clock.advance(10_000)
    empty(admission)
  })
})
