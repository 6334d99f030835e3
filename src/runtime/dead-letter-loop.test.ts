import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { createRuntimeFixture, type FixtureOptions } from '../../test/helpers/runtime-parts.ts'
import { mhvError } from '../core/errors.ts'
import type { Notification } from '../core/notifier.ts'
import { startDeadLetterLoop } from './dead-letter-loop.ts'

const HOUR_MS = 3_600_000

function createFixture(options: FixtureOptions, act: () => unknown) {
  const told: Notification[] = []
  const fixture = createRuntimeFixture({
    ...options,
    script: act,
    change: (parts) => ({ ...parts, notifier: { notify: (each) => void told.push(each) } }),
  })
  return { ...fixture, told, loop: startDeadLetterLoop(fixture.parts, fixture.deadLetters) }
}

function fails(): never {
  throw mhvError('MHV_EXEC_NOT_STARTED', 'no room')
}

describe('what is done about dead letters while nobody asks', () => {
  test('due letters are replayed, and no more after it was stopped', async () => {
    let acted = 0
    const act = () => {
      acted += 1
      return fails()
    }
    const policy = { policy: 'linear', delay_seconds: 5, max_replays: 100 } as const
    const { run, call, clock, loop } = createFixture({ deadLetters: policy }, act)
    await run(call('probe.script'))
    await clock.advance(4_000)
    assert.equal(acted, 1)
    await clock.advance(60_000)
    // 5, 10, 15, 20 seconds after each other, each within a second.
    assert.equal(acted, 5)
    loop.stop()
    await clock.advance(600_000)
    assert.equal(acted, 5)
  })

  test('what is done with goes when its time is over; what is open stays', async () => {
    const { run, call, control, store, clock, loop } = createFixture({ deadLetters: { retention_days: 1 } }, fails)
    const first = await run(call('probe.script'))
    await run(call('probe.script'))
    await control('dlq_archive', { letter_id: first.metadata.dead_letter })
    await clock.advance(20 * HOUR_MS)
    assert.equal((await store.deadLetterStats()).count, 2)
    await clock.advance(6 * HOUR_MS)
    const left = await store.listDeadLetters({ limit: 10 })
    assert.deepEqual(
      left.map(({ state }) => state),
      ['open'],
    )
    loop.stop()
  })

  test('somebody is told, once, of letters that were lost for want of room', async () => {
    const { run, call, clock, told, loop } = createFixture({ deadLetters: { max_count: 1 } }, fails)
    await clock.advance(31_000)
    for (let index = 0; index < 4; index++) await run(call('probe.script'))
    await clock.advance(120_000)
    assert.deepEqual(
      told.map(({ kind, facts }) => [kind, facts.dropped]),
      [['dead_letters_lost', 3]],
    )
    loop.stop()
  })

  test('a journal that does not answer is told, and looked at again', async () => {
    const { parts, run, call, clock, log, store, loop } = createFixture({ deadLetters: { policy: 'immediate' } }, fails)
    const { dueDeadLetters } = store
    Object.assign(parts.store, { dueDeadLetters: () => Promise.reject(new Error('gone')) })
    await run(call('probe.script'))
    await clock.advance(3_000)
    assert.match(JSON.stringify(log), /could not be looked at/)
    Object.assign(parts.store, { dueDeadLetters })
    await clock.advance(3_000)
    const [letter] = await store.listDeadLetters({ limit: 1 })
    assert.ok((letter?.replays ?? 0) > 0)
    loop.stop()
  })
})
