import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { createRuntimeFixture, type RuntimeFixture } from '../../../test/helpers/runtime-parts.ts'
import type { OperationContext } from '../../core/context.ts'
import { mhvError } from '../../core/errors.ts'
import type { AnyWorker } from '../../core/worker.ts'

/** What happens to a run whose worker's process dies while it acts. */

type Act = (context: OperationContext, nth: number) => Promise<unknown>

/** `probe.script` as an operation that can be taken up again. */
function fixtureOf(run: Act, resume: Act, resumes = true): RuntimeFixture & { readonly acts: string[] } {
  const acts: string[] = []
  const counted = (name: string, act: Act) => (context: OperationContext) => {
    acts.push(name)
    return act(context, acts.filter((each) => each === name).length)
  }
  const worker = (probe: AnyWorker): AnyWorker => ({
    ...probe,
    operations: probe.operations.map((spec) =>
      spec.id === 'probe.script'
        ? { ...spec, run: counted('run', run), resume: counted('resume', resume), resumes: () => resumes }
        : spec,
    ),
  })
  return { acts, ...createRuntimeFixture({ worker }) }
}

const died = () => mhvError('MHV_WORKER_DIED', 'the process ended: SIGKILL')
const write = (context: OperationContext, text: string) => context.output.write('stdout', Buffer.from(text))

async function eventsOf(fixture: RuntimeFixture, run_id: string): Promise<{ type: string; data: object }[]> {
  const { events } = await fixture.control('run_get', { run_id })
  return events as { type: string; data: object }[]
}

suite('a run whose worker process died', () => {
  test('SSH-07: is taken up again as the next attempt, and its output is there once', async () => {
    const fixture = fixtureOf(
      async (context) => {
        await write(context, 'one\ntwo\n')
        throw died()
      },
      async (context) => {
        await write(context, 'one\n')
        await write(context, 'two\nthree\n')
        const { text } = await context.output.collect('stdout')
        return { value: text.length }
      },
    )
    const result = await fixture.run(fixture.call('probe.script'))
    assert.deepEqual(
      [result.status, result.error_code, (result.data as { value: number }).value],
      ['completed', null, 14],
    )
    assert.deepEqual(fixture.acts, ['run', 'resume'])
    const chunks = await fixture.parts.store.getOutput(result.run_id, 0, 1_000)
    assert.equal(Buffer.concat(chunks.map(({ bytes }) => bytes)).toString(), 'one\ntwo\nthree\n')
    const resumed = (await eventsOf(fixture, result.run_id)).filter(({ type }) => type === 'resumed')
    assert.equal(resumed.length, 1)
    assert.deepEqual({ ...resumed[0]?.data, error: '' }, { attempt: 2, error_code: 'MHV_WORKER_DIED', error: '' })
  })

  test('ends as unknown after three times, and also where taking it up fails', async () => {
    const always = async () => {
      throw died()
    }
    const often = fixtureOf(always, always)
    const worn = await often.run(often.call('probe.script'))
    assert.deepEqual([worn.error_code, worn.effect_certainty], ['MHV_WORKER_DIED', 'unknown'])
    assert.deepEqual(often.acts, ['run', 'resume', 'resume', 'resume'])

    const refused = fixtureOf(always, async () => {
      throw mhvError('MHV_WORKER_DOWN', 'the process is not up')
    })
    const down = await refused.run(refused.call('probe.script'))
    assert.equal(down.effect_certainty, 'unknown', 'what was begun may have been done')
    assert.ok(refused.acts.slice(1).every((act) => act === 'resume'))
  })

  test('is not taken up where this input cannot be, or where it has been cancelled', async () => {
    const dies = async () => {
      throw died()
    }
    const not = fixtureOf(dies, async () => ({ value: 1 }), false)
    assert.equal((await not.run(not.call('probe.script'))).error_code, 'MHV_WORKER_DIED')
    assert.deepEqual(not.acts, ['run'])

    const stop = new AbortController()
    const cancelled = fixtureOf(
      async () => {
        stop.abort()
        throw died()
      },
      async () => ({ value: 1 }),
    )
    const end = await cancelled.run(cancelled.call('probe.script', {}, {}, { signal: stop.signal }))
    assert.notEqual(end.status, 'completed')
    assert.deepEqual(cancelled.acts, ['run'])
  })
})
