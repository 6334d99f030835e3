import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { createRuntimeFixture } from '../../test/helpers/runtime-parts.ts'
import { mhvError } from '../core/errors.ts'
import { createMemoryStore } from '../store/memory.ts'
import type { Store } from '../store/store.ts'
import { createFakeClock } from '../testing/fake-clock.ts'

/** A journal that another process takes over when it is told to. */
function takenOver() {
  const clock = createFakeClock(0)
  const memory = createMemoryStore(clock)
  const state = { taken: false, asked: 0 }
  const write = <Given extends unknown[], Answer>(call: (...given: Given) => Promise<Answer>) => {
    return async (...given: Given): Promise<Answer> => {
      if (state.taken) throw mhvError('MHV_INSTANCE_FENCED', 'taken over')
      return call(...given)
    }
  }
  const owner = write(memory.assertOwner)
  const store: Store = {
    ...memory,
    createRun: write(memory.createRun),
    changeRun: write(memory.changeRun),
    async assertOwner() {
      state.asked += 1
      return owner()
    },
  }
  return { clock, memory, store, state }
}

suite('RES-02 a process whose instance was taken over', () => {
  test('makes no further attempt: it asks the journal before it acts when its last write is a while ago', async () => {
    const { clock, store, state } = takenOver()
    let attempts = 0
    const fixture = createRuntimeFixture({
      clock,
      store,
      script() {
        attempts += 1
        if (attempts === 1) throw mhvError('MHV_SSH_CONNECT_REFUSED', 'first', { retryAfter: 5 })
        return { value: 'again' }
      },
    })
    const call = fixture.call('probe.script')
    await clock.advance(100)
    assert.deepEqual([attempts, state.asked], [1, 0])
    state.taken = true
    await assert.rejects(fixture.run(call), { code: 'MHV_RUN_INTERRUPTED' })
    assert.deepEqual([attempts, state.asked], [1, 1])
    // From then on nothing is taken, and nothing is asked any more.
    for (const operation of ['probe.peek', 'probe.touch']) {
      await assert.rejects(fixture.call(operation), { code: 'MHV_INSTANCE_FENCED' })
    }
    assert.deepEqual([attempts, state.asked], [1, 1])
  })

  test('ends what still acts, since another process has ended or taken up those runs', async () => {
    const { clock, memory, store, state } = takenOver()
    const reasons: unknown[] = []
    const fixture = createRuntimeFixture({
      clock,
      store,
      async script(context) {
        await context.clock.sleep(1e9, context.signal).catch(() => reasons.push(context.signal.reason.code))
        throw context.signal.reason
      },
    })
    const acting = fixture.call('probe.script')
    await clock.advance(100)
    state.taken = true
    await assert.rejects(fixture.call('probe.touch'), { code: 'MHV_INSTANCE_FENCED' })
    await assert.rejects(fixture.run(acting), { code: 'MHV_RUN_INTERRUPTED' })
    assert.deepEqual(reasons, ['MHV_RUN_INTERRUPTED'])
    assert.equal((await memory.unfinishedRuns()).length, 1)
    assert.ok(fixture.log.some(({ message }) => message.includes('taken over')))
  })

  test('while it is ours the journal is asked only after a pause', async () => {
    const { clock, store, state } = takenOver()
    const fixture = createRuntimeFixture({ clock, store, script: (_context, value) => ({ value }) })
    for (let n = 0; n < 5; n += 1) await fixture.run(fixture.call('probe.script'))
    assert.equal(state.asked, 0)
    await clock.advance(5_000)
    // A read is journaled after it has acted.
    await fixture.run(fixture.call('probe.peek'))
    assert.equal(state.asked, 1)
  })
})
