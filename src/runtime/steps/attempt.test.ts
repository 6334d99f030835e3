import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import {
  createRuntimeFixture,
  type FixtureOptions,
  type RuntimeFixture,
  type Script,
} from '../../../test/helpers/runtime-parts.ts'
import { ERROR_CATEGORIES, ERROR_CODES, ERROR_TABLE, type ErrorCode } from '../../core/error-table.ts'
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

/** Fails so many times with the codes, one after the other, then succeeds. */
function failing(codes: readonly ErrorCode[], options: FixtureOptions = {}) {
  const attempts: number[] = []
  const script: Script = (context) => {
    attempts.push(context.attempt)
    const code = codes[attempts.length - 1]
    if (code !== undefined) throw mhvError(code, `attempt ${context.attempt}`)
    return { value: 1 }
  }
  return { attempts, ...createRuntimeFixture({ script, worker: eager, ...options }) }
}

/** Why there was no other attempt, by the event log. */
async function denials(fixture: RuntimeFixture, run_id: string): Promise<unknown[]> {
  const { events } = await fixture.control('run_get', { run_id })
  const denied = (events as { type: string; data: { reason: unknown } }[]).filter(({ type }) => type === 'retry_denied')
  return denied.map(({ data }) => data.reason)
}

const cut = (result: { status: string; error_code: unknown; effect_certainty: unknown }) => [
  result.status,
  result.error_code,
  result.effect_certainty,
]

suite('attempts', () => {
  test('another attempt is made only where that is safe: every code, idempotent or not', async () => {
    for (const code of ERROR_CODES) {
      for (const operation of ['probe.script', 'probe.repeat']) {
        const fixture = failing([code])
        const result = await fixture.run(fixture.call(operation))
        const { phase } = ERROR_TABLE[code]
        // An operation that lost the journal had begun, whatever the code says of the journal's own writes.
        const ofJournal = /^MHV_(JOURNAL_|DISK_LOW|INSTANCE_FENCED)/.test(code)
        const safe = ofJournal ? 'unknown' : phase
        const again = safe === 'before-effect' || (safe === 'unknown' && operation === 'probe.repeat')
        assert.equal(fixture.attempts.length, again ? 2 : 1, `${code} of ${operation}`)
        assert.equal(result.attempts, fixture.attempts.length, `${code} of ${operation}`)
        assert.equal(result.status === 'completed', again, `${code} of ${operation}`)
      }
    }
  })

  test('attempts are counted, told to the operation, bounded, and in the log of the run with their waits', async () => {
    const fixture = failing([
      'MHV_SSH_CONNECT_REFUSED',
      'MHV_SSH_CONNECT_TIMEOUT',
      'MHV_SSH_CONNECT_REFUSED',
      'MHV_INTERNAL',
    ])
    const result = await fixture.run(fixture.call('probe.script'))
    assert.deepEqual(fixture.attempts, [1, 2, 3])
    assert.deepEqual([result.attempts, ...cut(result)], [3, 'failed', 'MHV_SSH_CONNECT_REFUSED', 'none'])
    const { events } = await fixture.control('run_get', { run_id: result.run_id })
    const failed = (events as { type: string; data: { wait_ms: number; error_code: string } }[]).filter(
      ({ type }) => type === 'attempt_failed',
    )
    assert.deepEqual(
      failed.map(({ data }) => data.error_code),
      ['MHV_SSH_CONNECT_REFUSED', 'MHV_SSH_CONNECT_TIMEOUT'],
    )
    for (const [index, { data }] of failed.entries()) assert.ok(data.wait_ms >= 0 && data.wait_ms < 200 * 2 ** index)
  })

  test('what the other side asks for is waited for, and jitter on top', async () => {
    let at = 0
    const waits: number[] = []
    const fixture = createRuntimeFixture({
      worker: eager,
      script: (context) => {
        if (at > 0) waits.push(context.clock.monotonic() - at)
        at = context.clock.monotonic()
        if (waits.length < 2) throw mhvError('MHV_SSH_CHANNEL_REFUSED', 'later', { retryAfter: 2 })
        return { value: 1 }
      },
    })
    at = 0
    await fixture.clock.advance(1)
    await fixture.run(fixture.call('probe.script'), 1)
    assert.equal(waits.length, 2)
    for (const [index, wait] of waits.entries())
      assert.ok(wait >= 2_000 && wait < 2_000 + 200 * 2 ** index, `${wait} ms`)
  })

  test('an attempt that may have changed something is not taken back by a later one that did not', async () => {
    const table: readonly (readonly [codes: readonly ErrorCode[], certainty: string])[] = [
      [['MHV_SSH_CONNECTION_LOST', 'MHV_SSH_CONNECT_REFUSED', 'MHV_SSH_CONNECT_REFUSED'], 'unknown'],
      [['MHV_SSH_CONNECT_REFUSED', 'MHV_SSH_CONNECTION_LOST', 'MHV_SSH_CONNECT_REFUSED'], 'unknown'],
      [['MHV_SSH_CONNECT_REFUSED', 'MHV_SSH_CONNECT_REFUSED', 'MHV_SSH_CONNECT_REFUSED'], 'none'],
      [['MHV_SSH_CONNECT_REFUSED', 'MHV_OUTPUT_INVALID'], 'applied'],
    ]
    for (const [codes, certainty] of table) {
      const fixture = failing(codes)
      const result = await fixture.run(fixture.call('probe.repeat', {}, { idempotency_key: 'k' }))
      assert.equal(result.effect_certainty, certainty, codes.join())
    }
  })

  test('what asks for more time than the run has is not waited for, and the caller gets to know when to return', async () => {
    const script: Script = () => {
      throw mhvError('MHV_SSH_CHANNEL_REFUSED', 'later', { retryAfter: 1_000 })
    }
    const fixture = createRuntimeFixture({ worker: eager, script })
    const before = fixture.clock.now()
    const result = await fixture.run(fixture.call('probe.script', {}, { timeout: 20 }))
    assert.deepEqual([...cut(result), result.attempts], ['failed', 'MHV_SSH_CHANNEL_REFUSED', 'none', 1])
    assert.equal(result.metadata.retry_after, 1_000)
    assert.ok(fixture.clock.now() - before < 200)
    assert.deepEqual(await denials(fixture, result.run_id), ['deadline'])
  })

  test('the wait for another attempt ends with the run', async () => {
    const script: Script = () => {
      throw mhvError('MHV_SSH_CHANNEL_REFUSED', 'later', { retryAfter: 15 })
    }
    const fixture = createRuntimeFixture({ worker: eager, script })
    const controller = new AbortController()
    fixture.clock.after(1_000, () => controller.abort())
    const calling = fixture.call('probe.script', {}, { timeout: 20 }, { signal: controller.signal })
    assert.deepEqual(cut(await fixture.run(calling)), ['cancelled', 'MHV_SSH_CHANNEL_REFUSED', 'none'])
  })

  test('the event log says why there was no other attempt, and what was left of the budget', async () => {
    const told = async (codes: readonly ErrorCode[], options: FixtureOptions = {}) => {
      const fixture = failing(codes, options)
      const { run_id } = await fixture.run(fixture.call('probe.script'))
      return denials(fixture, run_id)
    }
    const refused = Array.from({ length: 9 }, () => 'MHV_SSH_CONNECT_REFUSED' as const)
    assert.deepEqual(await told(refused), ['attempts'])
    assert.deepEqual(await told(['MHV_SSH_CONNECTION_LOST']), ['unsafe'])
    assert.deepEqual(await told(['MHV_EXEC_NOT_FOUND'], { worker: (probe) => probe }), ['not_listed'])
    const budget = { size: 9, retry_cost: 5, timeout_cost: 10, success_return: 1 }
    assert.deepEqual(await told(refused, { retry: { budget } }), ['budget'])
    // A retry after a timeout costs more than is there.
    assert.deepEqual(await told(['MHV_SSH_CONNECT_TIMEOUT'], { retry: { budget } }), ['budget'])
  })

  test('a success gives back to the budget of its target, and only to that', async () => {
    const budget = { size: 5, retry_cost: 5, timeout_cost: 5, success_return: 1 }
    const fixture = failing(['MHV_SSH_CONNECT_REFUSED'], { retry: { budget } })
    const left = (target: string) => fixture.parts.retry.budgetOf('probe', target, budget).left()
    assert.equal((await fixture.run(fixture.call('probe.script'))).attempts, 2)
    assert.deepEqual([left('one'), left('two')], [1, 5])
    for (let call = 0; call < 9; call++) await fixture.run(fixture.call('probe.script'))
    assert.deepEqual([left('one'), left('two')], [5, 5])
  })
})

suite('the end of the time', () => {
  const wait: Script = (context) => context.clock.sleep(1e9, context.signal)

  test('in the queue: nothing was done', async () => {
    const fixture = createRuntimeFixture({ limits: { max_concurrent: 1, queue_size: 5 }, script: wait })
    const first = fixture.call('probe.script')
    await fixture.clock.advance(10)
    const second = await fixture.run(fixture.call('probe.script', {}, { timeout: 1 }))
    assert.deepEqual(cut(second), ['timeout', 'MHV_RUN_QUEUE_TIMEOUT', 'none'])
    assert.ok(second.metadata.queue_seconds >= 1)
    assert.equal(second.attempts, 0)
    await fixture.run(first)
  })

  test('while it acts: nobody knows what was done', async () => {
    const fixture = createRuntimeFixture({ script: wait })
    const result = await fixture.run(fixture.call('probe.script', {}, { timeout: 1 }))
    assert.deepEqual(cut(result), ['timeout', 'MHV_RUN_TIMEOUT', 'unknown'])
  })

  test('what the operation says of itself when it is ended stands, and the status says why it was', async () => {
    const script: Script = async (context) => {
      await context.clock.sleep(1e9, context.signal).catch(() => undefined)
      throw mhvError('MHV_SSH_COMMAND_TIMEOUT', 'its session was ended')
    }
    const fixture = createRuntimeFixture({ script })
    const result = await fixture.run(fixture.call('probe.script', {}, { timeout: 1 }))
    assert.deepEqual(cut(result), ['timeout', 'MHV_SSH_COMMAND_TIMEOUT', 'unknown'])
  })

  test('an error of its own without a code is no defect when it was told to end', async () => {
    const script: Script = async (context) => {
      await context.clock.sleep(1e9, context.signal).catch(() => undefined)
      throw new DOMException('This operation was aborted', 'AbortError')
    }
    const fixture = createRuntimeFixture({ script })
    const result = await fixture.run(fixture.call('probe.script', {}, { timeout: 1 }))
    assert.deepEqual(cut(result), ['timeout', 'MHV_RUN_TIMEOUT', 'unknown'])
    assert.ok(!fixture.log.some(({ level }) => level === 'error'))
  })

  test('who is done within the grace has succeeded', async () => {
    const script: Script = async (context) => {
      await context.clock.sleep(2_000)
      return { value: 'done' }
    }
    const fixture = createRuntimeFixture({ script })
    const result = await fixture.run(fixture.call('probe.script', {}, { timeout: 1 }))
    assert.deepEqual(cut(result), ['completed', null, 'applied'])
  })

  test('who is deaf is left after the grace; what it does later changes nothing and throws nothing', async () => {
    const later: string[] = []
    const script: Script = async (context) => {
      await context.clock.sleep(60_000)
      await context.output.write('stdout', Buffer.from('late'))
      await context.progress({ progress: 1 })
      later.push('acted')
      throw new Error('late')
    }
    const fixture = createRuntimeFixture({ script })
    const started = fixture.clock.monotonic()
    const result = await fixture.run(fixture.call('probe.script', {}, { timeout: 1 }))
    assert.deepEqual(cut(result), ['timeout', 'MHV_RUN_TIMEOUT', 'unknown'])
    const took = fixture.clock.monotonic() - started
    assert.ok(took >= 6_000 && took < 6_200, `${took} ms`)
    assert.deepEqual(fixture.parts.admission.counts(), { running: 0, queued: 0 })
    await fixture.clock.advance(120_000)
    assert.deepEqual(later, ['acted'])
    const { chunks } = await fixture.control('run_output', { run_id: result.run_id })
    assert.deepEqual(chunks, [])
    assert.deepEqual((await fixture.control('run_get', { run_id: result.run_id })).run, result)
  })

  test('a worker that does not start holds no run beyond its deadline, and nothing was done', async () => {
    const connect = () => new Promise<never>(() => undefined)
    const fixture = createRuntimeFixture({ worker: (probe) => ({ ...probe, connect }) })
    const result = await fixture.run(fixture.call('probe.script', {}, { timeout: 1 }))
    assert.deepEqual(cut(result), ['timeout', 'MHV_RUN_QUEUE_TIMEOUT', 'none'])
    assert.deepEqual(fixture.parts.admission.counts(), { running: 0, queued: 0 })
  })

  test('a worker that cannot start has done nothing, whatever it throws, and is started again by the next call', async () => {
    let broken = true
    const fixture = createRuntimeFixture({
      script: () => ({ value: 1 }),
      worker: (probe) => ({
        ...probe,
        async connect() {
          if (broken) throw new Error('cannot find module')
          return { stats: () => ({}), close: async () => undefined }
        },
      }),
    })
    assert.deepEqual(cut(await fixture.run(fixture.call('probe.script'))), ['failed', 'MHV_INTERNAL', 'none'])
    broken = false
    assert.equal((await fixture.run(fixture.call('probe.script'))).status, 'completed')
  })
})

suite('cancelling', () => {
  const wait: Script = (context) => context.clock.sleep(1e9, context.signal)

  test("the caller's signal cancels a run that acts, and one that waits", async () => {
    const fixture = createRuntimeFixture({ limits: { max_concurrent: 1, queue_size: 5 }, script: wait })
    const controllers = [new AbortController(), new AbortController()]
    const [acting, queued] = controllers.map(({ signal }) => fixture.call('probe.script', {}, {}, { signal }))
    await fixture.clock.advance(100)
    for (const controller of controllers.toReversed()) controller.abort()
    assert.ok(acting && queued)
    assert.deepEqual(cut(await fixture.run(queued)), ['cancelled', 'MHV_RUN_CANCELLED_QUEUED', 'none'])
    assert.deepEqual(cut(await fixture.run(acting)), ['cancelled', 'MHV_RUN_CANCELLED', 'unknown'])
    assert.deepEqual(fixture.parts.admission.counts(), { running: 0, queued: 0 })
  })

  test('after the handle was given out the caller may go away, and the run goes on', async () => {
    const script: Script = async (context) => {
      await context.clock.sleep(1_000, context.signal)
      return { value: 1 }
    }
    const fixture = createRuntimeFixture({ script })
    const controller = new AbortController()
    const handle = await fixture.run(fixture.call('probe.script', {}, { wait: 0.1 }, { signal: controller.signal }), 10)
    assert.equal(handle.status, 'running')
    controller.abort()
    const { run } = await fixture.run(fixture.control('run_wait', { run_id: handle.run_id }))
    assert.equal((run as { status: string }).status, 'completed')
  })

  test('a connection that breaks because we ended it does not speak against the target', async () => {
    const script: Script = async (context, value) => {
      await context.clock.sleep(1e9, context.signal).catch(() => undefined)
      throw mhvError('MHV_SSH_CONNECTION_LOST', value)
    }
    const fixture = createRuntimeFixture({ script })
    for (let call = 0; call < 10; call++) {
      const controller = new AbortController()
      fixture.clock.after(100, () => controller.abort())
      await fixture.run(fixture.call('probe.script', {}, {}, { signal: controller.signal }))
    }
    assert.deepEqual(fixture.parts.breakers.list(), [])
    // Negative control: the same error of a run that nobody cancelled opens it.
    const lost = failing(
      Array.from({ length: 20 }, () => 'MHV_SSH_CONNECTION_LOST' as const),
      { worker: (probe) => probe },
    )
    for (let call = 0; call < 5; call++) await lost.run(lost.call('probe.script'))
    assert.deepEqual(
      lost.parts.breakers.list().map(({ state }) => state),
      ['open'],
    )
  })
})

suite('the breaker of a target', () => {
  test('opens, refuses without acting, is no attempt, lets trials through, and closes; other targets are untouched', async () => {
    let broken = true
    let acts = 0
    const script: Script = () => {
      acts += 1
      if (broken) throw mhvError('MHV_SSH_CONNECTION_LOST', 'lost')
      return { value: 1 }
    }
    const fixture = createRuntimeFixture({ script })
    const call = (target = 'one', envelope = {}) =>
      fixture.run(fixture.call('probe.script', {}, { target, ...envelope }))
    for (let failed = 0; failed < 5; failed++) assert.equal((await call()).error_code, 'MHV_SSH_CONNECTION_LOST')
    const refused = await call()
    assert.deepEqual([...cut(refused), refused.attempts], ['failed', 'MHV_BREAKER_OPEN', 'none', 0])
    assert.equal(refused.metadata.retry_after, 300)
    assert.equal(acts, 5)
    broken = false
    assert.equal((await call('two')).status, 'completed')

    // With a key the refused run may be done later, as the same run.
    const keyed = await call('one', { idempotency_key: 'k' })
    assert.deepEqual(cut(keyed), ['failed', 'MHV_BREAKER_OPEN', 'none'])
    await fixture.clock.advance(300_000)
    const again = await call('one', { idempotency_key: 'k' })
    assert.deepEqual([again.run_id, again.status, again.attempts], [keyed.run_id, 'completed', 1])
    assert.deepEqual(fixture.parts.breakers.list(), [])
    const { events } = await fixture.control('run_get', { run_id: refused.run_id })
    assert.deepEqual(
      (events as { type: string }[]).map(({ type }) => type),
      ['accepted', 'breaker', 'finished'],
    )
  })

  test('holds back what would be tried again', async () => {
    const fixture = failing(
      Array.from({ length: 20 }, () => 'MHV_SSH_CONNECT_REFUSED' as const),
      {
        worker: (probe) => ({
          ...eager(probe),
          breaker: { failure_threshold: 2, recovery_timeout: 60, half_open_max_calls: 1 },
        }),
      },
    )
    const result = await fixture.run(fixture.call('probe.script'))
    assert.deepEqual([...cut(result), result.attempts], ['failed', 'MHV_BREAKER_OPEN', 'none', 2])
  })
})

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
