import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import {
  createLetterFixture,
  FAILS_CLEANLY,
  FAILS_UNKNOWN,
  type LetterFixture,
} from '../../test/helpers/letter-fixture.ts'
import { BOB } from '../../test/helpers/runtime-parts.ts'

describe('which runs become dead letters', () => {
  const rows = [
    ['a write that failed', 'probe.script', FAILS_CLEANLY, 1],
    ['a write that completed', 'probe.script', () => ({ value: 1 }), 0],
    ['a read that failed', 'probe.peek', FAILS_CLEANLY, 0],
    ['an idempotent write that failed', 'probe.repeat', FAILS_UNKNOWN, 1],
  ] as const
  for (const [what, operation, act, count] of rows) {
    test(`${what}: ${count}`, async () => {
      const fixture = createLetterFixture()
      fixture.script = [act]
      const run = await fixture.run(fixture.call(operation, { value: 'v' }))
      const letters = await fixture.store.listDeadLetters({ limit: 10 })
      assert.equal(letters.length, count)
      assert.equal(run.metadata.dead_letter, letters[0]?.id)
    })
  }

  test('a cancelled write is none; one that timed out is', async () => {
    const fixture = createLetterFixture()
    const caller = new AbortController()
    const cancelled = fixture.call('probe.emit', { wait_ms: 60_000 }, {}, { signal: caller.signal })
    await fixture.clock.advance(100)
    caller.abort()
    assert.equal((await fixture.run(cancelled)).status, 'cancelled')
    assert.equal((await fixture.store.deadLetterStats()).count, 0)
    assert.equal((await fixture.run(fixture.call('probe.emit', { wait_ms: 60_000 }, { timeout: 1 }))).status, 'timeout')
    assert.equal((await fixture.onlyLetter()).effect_certainty, 'unknown')
  })

  test('what the recovery table says to skip is none', async () => {
    const fixture = createLetterFixture({
      worker: (probe) => ({
        ...probe,
        recovery: { codes: { MHV_EXEC_NOT_STARTED: { strategy: 'skip', max_attempts: 1 } }, categories: {} },
      }),
    })
    await fixture.run(fixture.call('probe.script'))
    assert.equal((await fixture.store.deadLetterStats()).count, 0)
  })

  test('there is none for a call that never became a run', async () => {
    const fixture = createLetterFixture({ policy: null })
    await assert.rejects(fixture.run(fixture.call('probe.script')), { code: 'MHV_POLICY_DENIED' })
    assert.equal((await fixture.store.deadLetterStats()).count, 0)
  })
})

describe('RES-07: replays', () => {
  test('the same input on the same target, once, with a link to the first run', async () => {
    const fixture = createLetterFixture()
    const first = await fixture.run(fixture.call('probe.script', { value: 'exactly this' }, { priority: 'critical' }))
    fixture.script = [() => ({ value: 'done' })]
    const { letter, run } = await fixture.replay({ reason: 'disk freed' })
    assert.deepEqual([letter.state, letter.replays, run.status], ['replayed', 1, 'completed'])
    const record = await fixture.store.getRun(run.run_id)
    assert.equal(record?.replay_of, first.run_id)
    assert.deepEqual(
      [record?.input, record?.priority, record?.reason],
      [{ value: 'exactly this' }, 'critical', 'disk freed'],
    )
    assert.deepEqual(fixture.acted, [first.run_id, run.run_id])
    await assert.rejects(fixture.replay(), { code: 'MHV_DLQ_STATE' })
    assert.equal(fixture.acted.length, 2)
    const audit = await fixture.store.listAudit({ limit: 10 })
    assert.deepEqual(
      audit.map(({ action, run_id }) => [action, run_id]),
      [['dlq_replay', first.run_id]],
    )
  })

  test('of many who ask at once, one replays', async () => {
    const fixture = createLetterFixture()
    await fixture.run(fixture.call('probe.script'))
    fixture.script = [() => ({ value: 'done' })]
    const asked = await Promise.allSettled(Array.from({ length: 20 }, () => fixture.replay()))
    assert.equal(asked.filter(({ status }) => status === 'fulfilled').length, 1)
    assert.equal(fixture.acted.length, 2)
  })

  test('what the run has come to since somebody looked at the letter counts', async () => {
    const again: readonly (readonly [string, () => unknown, string])[] = [
      ['it acted', FAILS_UNKNOWN, 'MHV_DLQ_ACKNOWLEDGE'],
      ['it acts', () => fixtureOf.clock.sleep(60_000), 'MHV_DLQ_STATE'],
    ]
    let fixtureOf = createLetterFixture()
    for (const [what, act, code] of again) {
      const fixture = createLetterFixture()
      fixtureOf = fixture
      fixture.script = [FAILS_CLEANLY, act]
      const call = () => fixture.call('probe.script', {}, { idempotency_key: 'k', wait: 0.1 })
      await fixture.run(call())
      const letter = await fixture.onlyLetter()
      const { getRun } = fixture.store
      const failed = await getRun(letter.run_id)
      await fixture.run(call())
      // As if that had happened right after the look at the run.
      let looks = 0
      Object.assign(fixture.store, {
        getRun: async (run_id: string) => {
          looks += 1
          return looks === 1 ? failed : getRun(run_id)
        },
      })
      const request = { letter, principal: BOB, acknowledge_unknown: false, wait: 1 }
      await assert.rejects(fixture.run(fixture.deadLetters.replay(request)), { code }, what)
      assert.equal(fixture.acted.length, 2, what)
      assert.deepEqual((await fixture.onlyLetter()).replays, 0, what)
    }
  })

  test('what may have acted and is not idempotent needs an acknowledgement', async () => {
    const fixture = createLetterFixture()
    fixture.script = [FAILS_UNKNOWN]
    await fixture.run(fixture.call('probe.script'))
    await assert.rejects(fixture.replay(), { code: 'MHV_DLQ_ACKNOWLEDGE' })
    assert.equal((await fixture.onlyLetter()).state, 'open')
    assert.equal(fixture.acted.length, 1)
    fixture.script = [() => ({ value: 'done' })]
    assert.equal((await fixture.replay({ acknowledge_unknown: true })).letter.state, 'replayed')
  })

  test('a failed replay makes no second letter; the last one makes poison, which is told', async () => {
    const fixture = createLetterFixture({ deadLetters: { max_replays: 2 } })
    await fixture.run(fixture.call('probe.script'))
    assert.deepEqual((await fixture.replay()).letter.state, 'open')
    assert.equal(fixture.told.length, 0)
    assert.deepEqual((await fixture.replay()).letter.state, 'poison')
    const letter = await fixture.onlyLetter()
    assert.equal(letter.replays, 2)
    assert.deepEqual(
      fixture.told.map(({ kind, severity }) => [kind, severity]),
      [['dead_letter_poison', 'critical']],
    )
    // Somebody who has mended it may still ask.
    fixture.script = [() => ({ value: 'done' })]
    assert.equal((await fixture.replay()).letter.state, 'replayed')
  })

  test('a replay that may not be is no replay: nothing acts, and the letter is what it was', async () => {
    const policy = (rule: string) => `version: 1\nname: p\nrules:\n  - { id: all, decision: allow }\n${rule}`
    const fixture = createLetterFixture({
      policy: policy('  - { id: no, decision: deny, principals: ["agent:*"], operations: [probe.script] }\n'),
    })
    await fixture.run(fixture.call('probe.script'))
    const { id } = await fixture.onlyLetter()
    const before = await fixture.onlyLetter()
    await assert.rejects(fixture.run(fixture.control('dlq_replay', { letter_id: id }, BOB)), {
      code: 'MHV_POLICY_DENIED',
    })
    const after = await fixture.onlyLetter()
    assert.deepEqual({ ...after, updated_at: 0 }, { ...before, updated_at: 0 })
    assert.equal(fixture.acted.length, 1)
  })

  test('a replay that outlasts the wait is settled when its run has ended', async () => {
    const fixture = createLetterFixture()
    await fixture.run(fixture.call('probe.script'))
    const held = Promise.withResolvers<unknown>()
    fixture.script = [() => held.promise]
    const { letter, run } = await fixture.replay({ seconds: 1 })
    assert.deepEqual([letter.state, run.status], ['replaying', 'running'])
    held.resolve({ value: 'late' })
    await fixture.run(fixture.deadLetters.settled(1_000))
    assert.equal((await fixture.onlyLetter()).state, 'replayed')
  })

  test('a run that was called again under its key meanwhile is not replayed', async () => {
    const fixture = createLetterFixture()
    await fixture.run(fixture.call('probe.script', {}, { idempotency_key: 'k' }))
    fixture.script = [() => ({ value: 'done' })]
    assert.equal((await fixture.run(fixture.call('probe.script', {}, { idempotency_key: 'k' }))).status, 'completed')
    assert.equal((await fixture.onlyLetter()).state, 'archived')
    await assert.rejects(fixture.replay(), { code: 'MHV_DLQ_STATE' })
    assert.equal(fixture.acted.length, 2)
  })
})

describe('replays by themselves', () => {
  async function until(fixture: LetterFixture, seconds: number): Promise<void> {
    for (let second = 0; second < seconds; second++) {
      await fixture.clock.advance(1_000)
      await fixture.run(fixture.deadLetters.replayDue())
      await fixture.run(fixture.deadLetters.settled(100), 1)
    }
  }

  test('exponential: after 10, 20 and 40 seconds, then poison', async () => {
    const fixture = createLetterFixture({ deadLetters: { policy: 'exponential', delay_seconds: 10, max_replays: 3 } })
    const { timestamp } = await fixture.run(fixture.call('probe.script'))
    await until(fixture, 120)
    assert.equal((await fixture.onlyLetter()).state, 'poison')
    const runs = await fixture.store.listRuns({ limit: 10 })
    const began = runs.map(({ accepted_at }) => Math.round((accepted_at - Date.parse(timestamp)) / 1000)).reverse()
    assert.equal(began.length, 4)
    const pauses = began.slice(1).map((at, index) => at - (began[index] as number))
    for (const [index, expected] of [10, 20, 40].entries()) {
      assert.ok(Math.abs((pauses[index] as number) - expected) <= 3, `pauses ${pauses}`)
    }
  })

  test('as whoever asked for the run, and never what may have acted and is not idempotent', async () => {
    const fixture = createLetterFixture({ deadLetters: { policy: 'immediate' } })
    fixture.script = [FAILS_UNKNOWN]
    await fixture.run(fixture.call('probe.script', {}, {}, { principal: BOB }))
    await until(fixture, 20)
    assert.equal(fixture.acted.length, 1)
    assert.equal((await fixture.onlyLetter()).state, 'open')
    fixture.script = [FAILS_UNKNOWN, () => ({ value: 'done' })]
    const { run_id } = await fixture.run(fixture.call('probe.repeat', {}, {}, { principal: BOB }))
    await until(fixture, 20)
    const replay = (await fixture.store.listRuns({ limit: 10 })).find(({ replay_of }) => replay_of === run_id)
    assert.deepEqual([replay?.principal, replay?.status], [BOB.id, 'completed'])
  })

  test('what the policy does not allow any longer waits for somebody', async () => {
    let allowed = true
    const fixture = createLetterFixture({
      deadLetters: { policy: 'immediate' },
      change: (parts) => ({
        ...parts,
        get policy() {
          return allowed ? parts.policy : { ...parts.policy, rules: [] }
        },
      }),
    })
    await fixture.run(fixture.call('probe.script'))
    allowed = false
    await until(fixture, 5)
    const { state, next_at, replays } = await fixture.onlyLetter()
    assert.deepEqual([state, next_at, replays], ['open', null, 0])
    assert.equal(fixture.acted.length, 1)
  })
})

describe('archive, purge, limits', () => {
  test('an archived letter is not replayed by itself, and goes with a purge; the run stays', async () => {
    const fixture = createLetterFixture({ deadLetters: { policy: 'immediate' } })
    const { run_id } = await fixture.run(fixture.call('probe.script'))
    const { id } = await fixture.onlyLetter()
    await fixture.control('dlq_archive', { letter_id: id, reason: 'known' })
    await fixture.control('dlq_archive', { letter_id: id })
    await fixture.clock.advance(60_000)
    await fixture.deadLetters.replayDue()
    assert.equal(fixture.acted.length, 1)
    await assert.rejects(fixture.control('dlq_purge', {}), { code: 'MHV_INPUT_INVALID' })
    assert.deepEqual(await fixture.control('dlq_purge', { state: 'open' }), { removed: 0 })
    assert.deepEqual(await fixture.control('dlq_purge', { state: 'archived' }), { removed: 1 })
    await assert.rejects(fixture.control('dlq_show', { letter_id: id }), { code: 'MHV_DLQ_UNKNOWN' })
    assert.equal((await fixture.store.getRun(run_id))?.status, 'failed')
    const actions = (await fixture.store.listAudit({ limit: 10 })).map(({ action }) => action)
    assert.deepEqual(actions, ['dlq_archive', 'dlq_purge'])
  })

  test('a purge is a destruction for the policy', async () => {
    const rules = '  - { id: rw, decision: allow, effects: [read, write] }\n'
    const fixture = createLetterFixture({ policy: `version: 1\nname: p\nrules:\n${rules}` })
    await assert.rejects(fixture.control('dlq_purge', { state: 'open' }), { code: 'MHV_POLICY_DENIED' })
  })

  for (const [overflow, kept, counts] of [
    ['drop_oldest', ['3', '4', '5'], { dropped: 2, rejected: 0 }],
    ['reject', ['1', '2', '3'], { dropped: 0, rejected: 2 }],
  ] as const) {
    test(`no more than the limit, by the rule ${overflow}; what is lost is counted`, async () => {
      const fixture = createLetterFixture({ deadLetters: { max_count: 3, overflow } })
      for (const value of ['1', '2', '3', '4', '5']) await fixture.run(fixture.call('probe.script', { value }))
      const letters = await fixture.store.listDeadLetters({ limit: 10 })
      const runs = await Promise.all(letters.map(({ run_id }) => fixture.store.getRun(run_id)))
      const values = runs.map((run) => (run === null ? null : (run.input as { value: string }).value))
      assert.deepEqual(values.sort(), kept)
      const { dropped, rejected } = await fixture.control('dlq_stats', {})
      assert.deepEqual({ dropped, rejected }, counts)
    })
  }
})

test('RES-07: whatever is asked of letters in whatever order, each replay acts once and the states hold', async () => {
  const step = fc.oneof(
    fc
      .constantFrom('call', 'replay', 'acknowledged', 'archive', 'purge', 'due', 'mend', 'break', 'lose')
      .map((kind) => ({ kind })),
    fc.integer({ min: 1, max: 120 }).map((seconds) => ({ kind: 'pass', seconds })),
  )
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 5, maxLength: 30 }),
      fc.constantFrom('never', 'immediate', 'linear', 'exponential'),
      async (steps, policy) => {
        const fixture = createLetterFixture({ deadLetters: { policy, max_replays: 3, delay_seconds: 20 } })
        const become = (script: () => unknown) => {
          fixture.script = [script]
        }
        const ask =
          (name: string, more: object = {}) =>
          async () => {
            const [letter] = await fixture.store.listDeadLetters({ limit: 1 })
            if (letter !== undefined) await fixture.run(fixture.control(name, { letter_id: letter.id, ...more }))
          }
        for (const each of steps) {
          const acts: Record<string, () => Promise<unknown>> = {
            call: () => fixture.run(fixture.call('probe.script')),
            replay: ask('dlq_replay'),
            acknowledged: ask('dlq_replay', { acknowledge_unknown: true }),
            archive: ask('dlq_archive'),
            purge: () => fixture.control('dlq_purge', { state: 'archived' }),
            due: () => fixture.run(fixture.deadLetters.replayDue()),
            pass: () => fixture.clock.advance(('seconds' in each ? each.seconds : 0) * 1000),
            mend: async () => become(() => ({ value: 1 })),
            break: async () => become(FAILS_CLEANLY),
            lose: async () => become(FAILS_UNKNOWN),
          }
          await acts[each.kind]?.().catch((error: { code?: string }) => {
            assert.ok(
              ['MHV_DLQ_STATE', 'MHV_DLQ_ACKNOWLEDGE', 'MHV_BREAKER_OPEN'].includes(error.code ?? ''),
              String(error),
            )
          })
          await fixture.run(fixture.deadLetters.settled(1_000), 1)
          await check(fixture)
        }
      },
    ),
    { numRuns: 60 },
  )
})

async function check(fixture: LetterFixture): Promise<void> {
  const runs = await fixture.store.listRuns({ limit: 1_000 })
  const letters = await fixture.store.listDeadLetters({ limit: 1_000 })
  // Every run acted at most once, and what acted is a run.
  assert.equal(new Set(fixture.acted).size, fixture.acted.length)
  for (const run_id of fixture.acted) assert.ok(runs.some((run) => run.run_id === run_id))
  for (const letter of letters) {
    const replays = runs.filter(({ replay_of }) => replay_of === letter.run_id)
    assert.equal(replays.length, letter.replays)
    assert.equal(replays.filter(({ status }) => status === 'completed').length, letter.state === 'replayed' ? 1 : 0)
    assert.notEqual(letter.state, 'replaying')
    assert.ok(letter.next_at === null || letter.state === 'open')
    // Non-idempotent, and may have acted: never again by itself.
    assert.ok(letter.effect_certainty === 'none' || letter.next_at === null)
    if (letter.state === 'poison') assert.ok(letter.replays >= letter.max_replays)
  }
}
