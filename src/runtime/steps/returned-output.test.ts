import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { createRuntimeFixture, type Script } from '../../../test/helpers/runtime-parts.ts'
import { ERROR_CATEGORIES } from '../../core/error-table.ts'
import { mhvError } from '../../core/errors.ts'
import type { AnyWorker } from '../../core/worker.ts'

/** A worker that wants everything tried again, three times in all: what is not, is held back for safety. */
const eager = (worker: AnyWorker): AnyWorker => ({
  ...worker,
  breaker: { ...worker.breaker, failure_threshold: 1_000 },
  recovery: {
    codes: {},
    categories: Object.fromEntries(
      ERROR_CATEGORIES.map((category) => [category, { strategy: 'retry' as const, max_attempts: 3 }]),
    ),
  },
})

const cut = (result: { status: string; error_code: unknown; effect_certainty: unknown }) => [
  result.status,
  result.error_code,
  result.effect_certainty,
]

suite('what an operation returns', () => {
  const bad: Record<string, () => unknown> = {
    'what does not fit its schema': () => 5,
    nothing: () => undefined,
    'what JSON cannot hold': () => ({ value: 1n }),
    'what refers to itself': () => {
      const cycle: Record<string, unknown> = {}
      cycle.value = cycle
      return cycle
    },
    'what throws when it is read': () => ({
      get value() {
        throw new Error('no')
      },
    }),
  }
  for (const [what, returned] of Object.entries(bad)) {
    test(`${what} after a write is reported as applied, and never tried again`, async () => {
      let acts = 0
      const fixture = createRuntimeFixture({
        worker: eager,
        script: () => {
          acts += 1
          return returned()
        },
      })
      const result = await fixture.run(fixture.call('probe.repeat', {}, { idempotency_key: 'k' }))
      assert.deepEqual(cut(result), ['failed', 'MHV_OUTPUT_INVALID', 'applied'])
      assert.equal(
        (await fixture.run(fixture.call('probe.repeat', {}, { idempotency_key: 'k' }))).run_id,
        result.run_id,
      )
      assert.equal(acts, 1)
      assert.deepEqual(fixture.parts.live.all(), [])
    })
  }

  test('a summary that throws costs the summary, not the result', async () => {
    const fixture = createRuntimeFixture({
      worker: (probe) => ({
        ...probe,
        operations: probe.operations.map((spec) => ({
          ...spec,
          summarize: () => {
            throw new Error('no')
          },
        })),
      }),
    })
    const result = await fixture.run(fixture.call('probe.touch', { value: 'x' }))
    assert.deepEqual([result.status, result.output], ['completed', '{"value":"x"}'])
  })

  test('text for people is bounded in bytes, whatever the characters', async () => {
    const fixture = createRuntimeFixture({ runs: { text_bytes: 1_000 } })
    const { output } = await fixture.run(fixture.call('probe.touch', { value: '€'.repeat(10_000) }))
    assert.ok(Buffer.byteLength(output ?? '') < 1_100)
    assert.match(output ?? '', /\[… 9667 characters left out here …\]\n$/)
  })

  test('output that was bounded on the way is not cut again', async () => {
    const fixture = createRuntimeFixture({ runs: { text_bytes: 1_000 } })
    const { output } = await fixture.run(fixture.call('probe.emit', { pieces: ['a'.repeat(5_000), 'the end'] }))
    assert.match(output ?? '', /^a{500}\n\[… 4007 bytes left out here …\]\na+the end$/)
  })

  test('the message and the details of an error are bounded', async () => {
    const script: Script = () => {
      throw mhvError('MHV_EXEC_FAILED', 'x'.repeat(1_000_000), { details: { all: 'y'.repeat(1_000_000) } })
    }
    const fixture = createRuntimeFixture({ script })
    const result = await fixture.run(fixture.call('probe.script'))
    assert.ok(JSON.stringify(result).length < 20_000)
    assert.match(result.error ?? '', /characters left out here/)
  })
})
