import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { EnvelopeInput } from '../../src/core/envelope.ts'
import { mhvError } from '../../src/core/errors.ts'
import { RUN_TRANSITIONS, type RunStatus } from '../../src/core/result.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'
import { createFakeClock } from '../../src/testing/fake-clock.ts'
import { createRuntimeFixture, type RuntimeFixture } from '../helpers/runtime-parts.ts'

/** A store that tells which persisted transitions were made. */
function recording(store: Store): { readonly store: Store; readonly made: Set<string> } {
  const made = new Set<string>()
  const last = new Map<string, RunStatus>()
  const note = (run_id: string, to: RunStatus) => {
    made.add(`${last.get(run_id) ?? null}>${to}`)
    last.set(run_id, to)
  }
  return {
    made,
    store: {
      ...store,
      async createRun(run) {
        const outcome = await store.createRun(run)
        if (outcome.kind === 'created' || outcome.kind === 'reopened') note(outcome.run.run_id, outcome.run.status)
        return outcome
      },
      async changeRun(change) {
        const changed = await store.changeRun(change)
        if (changed !== null) note(changed.run_id, changed.status)
        return changed
      },
    },
  }
}

/** One slot, and a holder of it that can be told to let go. */
function narrow() {
  const clock = createFakeClock(0)
  const recorder = recording(createMemoryStore(clock))
  const holders: (() => void)[] = []
  const fixture = createRuntimeFixture({
    clock,
    store: recorder.store,
    limits: { max_concurrent: 1, queue_size: 10 },
    async script(context, value) {
      if (value === 'hold') await new Promise<void>((resolve) => holders.push(resolve))
      if (value === 'fail') throw mhvError('MHV_EXEC_FAILED', 'it failed')
      if (value === 'fail clean') throw mhvError('MHV_EXEC_NOT_FOUND', 'nothing was done')
      if (value === 'wait') await context.clock.sleep(1e9, context.signal)
      return { value }
    },
  })
  const hold = () => fixture.run(fixture.call('probe.script', { value: 'hold' }, { wait: 0, target: 'two' }))
  const letGo = () => fixture.run(Promise.resolve(holders.shift()?.()))
  return { ...fixture, made: recorder.made, hold, letGo }
}

type Narrow = ReturnType<typeof narrow>

/** Calls, and goes away after so many milliseconds. */
async function cancelled(f: Narrow, operation: string, value: string, afterMs: number, envelope: EnvelopeInput = {}) {
  const controller = new AbortController()
  f.clock.after(afterMs, () => controller.abort())
  return f.run(f.call(operation, { value }, envelope, { signal: controller.signal }))
}

const write = (f: Narrow, value: string, envelope: EnvelopeInput = {}) =>
  f.run(f.call('probe.script', { value }, envelope))

const KEY = { idempotency_key: 'k' }

/** A run of a key that did nothing: it failed, timed out in the queue, or was cancelled there. */
const cleanEnds: Record<'failed' | 'timeout' | 'cancelled', (f: Narrow) => Promise<unknown>> = {
  async failed(f) {
    await write(f, 'fail clean', KEY)
  },
  async timeout(f) {
    await f.hold()
    await write(f, 'again', { ...KEY, timeout: 1 })
    await f.letGo()
  },
  async cancelled(f) {
    await f.hold()
    await cancelled(f, 'probe.script', 'again', 100, KEY)
    await f.letGo()
  },
}

/** How each row of the table is reached by calls, under one slot. */
const scenarios: Record<string, (f: Narrow) => Promise<unknown>> = {
  'null>pending': (f) => f.hold().then(() => write(f, '', { wait: 0 })),
  'null>running': (f) => write(f, ''),
  'null>completed': (f) => f.run(f.call('probe.look')),
  'null>failed': (f) => f.run(f.call('probe.peek', { value: 'fail' })),
  'null>timeout': (f) => f.run(f.call('probe.peek', { value: 'wait' }, { timeout: 1 })),
  'null>cancelled': (f) => cancelled(f, 'probe.peek', 'wait', 100),
  async 'pending>running'(f) {
    await f.hold()
    const queued = f.call('probe.script', {}, KEY)
    await f.clock.advance(10)
    await f.letGo()
    await f.run(queued)
  },
  async 'pending>failed'(f) {
    await f.hold()
    const queued = f.call('probe.script', {}, KEY)
    await f.clock.advance(10)
    const breaker = f.parts.breakers.of('probe', 'one', f.parts.environment.breakerLimits('probe'))
    for (let failed = 0; failed < 5; failed++) breaker.enter().failure()
    await f.letGo()
    assert.equal((await f.run(queued)).error_code, 'MHV_BREAKER_OPEN')
  },
  'pending>timeout': cleanEnds.timeout,
  'pending>cancelled': cleanEnds.cancelled,
  'running>completed': (f) => write(f, ''),
  'running>failed': (f) => write(f, 'fail'),
  'running>timeout': (f) => write(f, 'wait', { timeout: 1 }),
  'running>cancelled': (f) => cancelled(f, 'probe.script', 'wait', 100),
}
for (const [from, end] of Object.entries(cleanEnds)) {
  const value = from === 'failed' ? 'fail clean' : 'again'
  scenarios[`${from}>running`] = async (f) => {
    await end(f)
    await write(f, value, KEY)
  }
  scenarios[`${from}>pending`] = async (f) => {
    await end(f)
    await f.hold()
    await write(f, value, { ...KEY, wait: 0 })
  }
}

async function reaches(row: string, scenario: (f: Narrow) => Promise<unknown>): Promise<void> {
  const fixture = narrow()
  await scenario(fixture)
  await fixture.letGo()
  await closeAll(fixture)
  assert.ok(fixture.made.has(row), `${row} was not made, only ${[...fixture.made].join(' ')}`)
  const allowed = RUN_TRANSITIONS.map(({ from, to }) => `${from}>${to}`)
  for (const each of fixture.made) assert.ok((allowed as string[]).includes(each), `${each} is not in the table`)
}

async function closeAll(fixture: Pick<RuntimeFixture, 'close' | 'run' | 'parts'>): Promise<void> {
  await fixture.run(fixture.close(1_000))
  assert.deepEqual(fixture.parts.live.all(), [])
}

suite('every transition of a run is reached by calls', () => {
  test('there is a scenario for every row', () => {
    assert.deepEqual(Object.keys(scenarios).sort(), RUN_TRANSITIONS.map(({ from, to }) => `${from}>${to}`).sort())
  })

  for (const [row, scenario] of Object.entries(scenarios)) {
    test(row, () => reaches(row, scenario))
  }

  test('negative control: where nothing waits, nothing becomes pending', async () => {
    await assert.rejects(
      reaches('null>pending', (f) => write(f, '')),
      /null>pending was not made, only null>running running>completed/,
    )
  })
})
