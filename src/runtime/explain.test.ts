import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { createRuntimeFixture } from '../../test/helpers/runtime-parts.ts'
import { mhvError } from '../core/errors.ts'
import { RUN_EVENT_TYPES, type RunEvent } from '../core/events.ts'
import type { RunRecord } from '../store/store.ts'
import { sampleEnd, sampleFacts } from '../testing/store-samples.ts'
import { type Explanation, explainRun } from './explain.ts'

const facts = sampleFacts(1)
const record = (change: Partial<RunRecord> = {}): RunRecord =>
  ({ ...facts, status: 'running', started_at: null, end: null, ...change }) as RunRecord
const at = (ms: number, type: RunEvent['type'], data: RunEvent['data'] = {}, seq = 1): RunEvent => ({
  run_id: facts.run_id,
  seq,
  type,
  at: facts.accepted_at + ms,
  data,
})

suite('why a run went as it did', () => {
  test('names rule, limit, budget and breaker, with the times that each of them took', () => {
    const end = { ...sampleEnd('failed'), finished_at: facts.accepted_at + 9_000, attempts: 2 }
    const run = record({ status: 'failed', end: { ...end, error_code: 'MHV_SSH_CONNECT_REFUSED' } })
    const explained = explainRun(
      run,
      [
        at(0, 'accepted', { principal: 'agent:ops', rule: 'dev-writes' }),
        at(0, 'queued', { position: 3, limit: 'ssh.admission.max_concurrent' }),
        at(4_000, 'admitted', {
          waited_ms: 4_000,
          limits: [{ limit: 'ssh.admission.max_concurrent', waited_ms: 4_000 }],
        }),
        at(4_000, 'started'),
        at(5_000, 'attempt_failed', { attempt: 1, error_code: 'MHV_SSH_CONNECT_REFUSED', error: 'nobody listens' }),
        at(5_000, 'retry', { wait_ms: 1_500, budget_left: 495 }),
        at(7_000, 'attempt_failed', { attempt: 2, error_code: 'MHV_SSH_CONNECT_REFUSED', error: 'nobody listens' }),
        at(7_000, 'retry_denied', { reason: 'budget', budget_left: 3 }),
        at(9_000, 'finished', { status: 'failed', error_code: 'MHV_SSH_CONNECT_REFUSED', effect_certainty: 'none' }),
      ],
      0,
    )
    const { summary, total_seconds, queue_seconds, backoff_seconds, steps } = explained
    assert.deepEqual([total_seconds, queue_seconds, backoff_seconds], [9, 4, 1.5])
    assert.equal(
      summary,
      'failed (MHV_SSH_CONNECT_REFUSED), 2 attempts; held up most by the limit ssh.admission.max_concurrent: 4 s',
    )
    assert.deepEqual(
      steps.map(({ by, name, offset_seconds, delay_seconds }) => [by, name, offset_seconds, delay_seconds]),
      [
        ['policy', 'dev-writes', 0, null],
        ['limit', 'ssh.admission.max_concurrent', 0, null],
        ['limit', 'ssh.admission.max_concurrent', 4, 4],
        ['system', null, 4, null],
        ['recovery', 'MHV_SSH_CONNECT_REFUSED', 5, null],
        ['recovery', null, 5, 1.5],
        ['recovery', 'MHV_SSH_CONNECT_REFUSED', 7, null],
        ['budget', null, 7, null],
        ['system', null, 9, null],
      ],
    )
    assert.match(steps[7]?.text ?? '', /retry budget of the target is used up; 3 left/)
  })

  test('a run that has not ended waits until now', () => {
    const events = [at(0, 'accepted'), at(0, 'queued', { position: 0 })]
    const { queue_seconds, total_seconds, summary } = explainRun(
      record({ status: 'pending' }),
      events,
      facts.accepted_at + 2_500,
    )
    assert.deepEqual([queue_seconds, total_seconds], [2.5, 2.5])
    assert.match(summary, /^pending; not ended yet$/)
  })

  test('any events of any content read as text, also kinds that a newer version wrote', () => {
    const data = fc.dictionary(
      fc.constantFrom(
        'error_code',
        'limit',
        'limits',
        'wait_ms',
        'reason',
        'position',
        'waited_ms',
        'rule',
        'was',
        'ok',
      ),
      fc.jsonValue(),
    ) as fc.Arbitrary<Record<string, unknown>>
    const type = fc.constantFrom<string>(...RUN_EVENT_TYPES, 'of_tomorrow')
    const event = fc.record({
      run_id: fc.constant('x'),
      seq: fc.nat(),
      type,
      at: fc.nat(),
      data,
    }) as fc.Arbitrary<RunEvent>
    fc.assert(
      fc.property(fc.array(event, { maxLength: 8 }), (events) => {
        const { steps, queue_seconds, backoff_seconds } = explainRun(record(), events, 0)
        assert.ok(steps.every(({ text }) => text !== '' && !text.includes('undefined')))
        assert.ok(queue_seconds >= 0 && backoff_seconds >= 0)
        assert.ok(steps.every(({ delay_seconds }) => delay_seconds === null || delay_seconds >= 0))
      }),
    )
  })
})

suite('the call run_explain, over the whole path', () => {
  test('tells the limit that held a run up and the attempts that it took', async () => {
    let left = 1
    const fixture = createRuntimeFixture({
      workerLimits: { max_concurrent: 1, queue_size: 10 },
      async script(context, value) {
        if (value === 'first') return context.clock.sleep(3_000).then(() => ({ value }))
        left -= 1
        if (left >= 0) throw mhvError('MHV_SSH_CONNECT_REFUSED', 'nobody listens')
        return { value }
      },
    })
    const first = fixture.call('probe.script', { value: 'first' })
    await fixture.clock.advance(10)
    const second = await fixture.run(fixture.call('probe.script', { value: 'second' }))
    await first
    const told = (await fixture.control('run_explain', { run_id: second.run_id })) as Explanation & { status: string }
    assert.equal(told.status, 'completed')
    assert.ok(told.queue_seconds >= 2.9 && told.queue_seconds < 3.5, `${told.queue_seconds}`)
    const limit = told.steps.find(({ by, delay_seconds }) => by === 'limit' && (delay_seconds ?? 0) > 0)
    assert.equal(limit?.name, 'probe.admission.max_concurrent')
    assert.ok(told.steps.some(({ by, name }) => by === 'recovery' && name === 'MHV_SSH_CONNECT_REFUSED'))
    assert.ok(told.steps.some(({ by, name }) => by === 'policy' && name === 'all'))
    await assert.rejects(fixture.control('run_explain', { run_id: 'none' }), { code: 'MHV_RUN_UNKNOWN' })
  })
})
