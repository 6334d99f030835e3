import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFakeClock } from '../../../testing/fake-clock.ts'
import { createConnectionSessions, REAP_MS, type Session } from './connection-sessions.ts'
import { createHostSessions } from './host-sessions.ts'

/** What is concluded from a refusal, for one connection or two of the same host. */
function setUp() {
  const clock = createFakeClock(0)
  const woken: number[] = []
  const wake = () => void woken.push(clock.monotonic())
  let changes = 0
  const host = createHostSessions(clock, wake)
  const changed = () => {
    changes += 1
  }
  const connect = () => createConnectionSessions({ clock, host, wake, changed })
  return { clock, woken, host, connect, changes: () => changes }
}

type Sessions = ReturnType<ReturnType<typeof setUp>['connect']>

function openAll(sessions: Sessions, count: number): Session[] {
  return Array.from({ length: count }, () => {
    const session = sessions.begin()
    session.opened()
    return session
  })
}

test('a refusal long after the last end proves the limit; one shortly after it proves as many more as ended', async () => {
  const { clock, host, connect, changes } = setUp()
  const young = connect()
  openAll(young, 2)
  // The question for the login shell may still count.
  assert.equal(young.begin().refused(2), true)
  assert.deepEqual([host.learnt(), changes()], [3, 1])
  await clock.advance(REAP_MS)
  assert.equal(young.begin().refused(2), true)
  assert.deepEqual([host.learnt(), changes()], [2, 2])
})

test('what had ended by the time of the answer counts, even if it had not when the session was asked for', async () => {
  const { clock, host, connect } = setUp()
  const sessions = connect()
  const [one] = openAll(sessions, 3)
  await clock.advance(REAP_MS)
  const late = sessions.begin()
  one?.ended()
  late.refused(3)
  assert.equal(host.learnt(), 3)
})

test('sessions that were asked for after the refused one do not count', async () => {
  const { clock, host, connect } = setUp()
  const sessions = connect()
  openAll(sessions, 2)
  await clock.advance(REAP_MS)
  const [refused, after] = [sessions.begin(), sessions.begin()]
  refused.refused(2)
  assert.equal(host.learnt(), 2)
  after.refused(2)
  assert.equal(host.learnt(), 2)
})

test('nothing is learnt below what was open at once, there or on another connection', async () => {
  const { clock, host, connect } = setUp()
  const [one, other] = [connect(), connect()]
  const three = openAll(one, 3)
  for (const session of three) session.ended()
  openAll(other, 2)
  await clock.advance(10 * REAP_MS)
  openAll(one, 1)
  assert.equal(one.proven(), 3)
  one.begin().refused(3)
  other.begin().refused(3)
  assert.equal(host.learnt(), Number.POSITIVE_INFINITY)
  assert.equal(one.room(1), 'no', 'for the moment')
  await clock.advance(1)
  assert.equal(one.room(1), 'attempt')
})

test('a command that was left running may count for as long as it likes', async () => {
  const { clock, host, connect } = setUp()
  const sessions = connect()
  const [left] = openAll(sessions, 2)
  left?.ended(true)
  await clock.advance(100 * REAP_MS)
  sessions.begin().refused(0)
  assert.equal(host.learnt(), 2)
  assert.equal(sessions.settling(), false)
})

test('one more is tried soon, one at a time, and less and less often while that is refused', async () => {
  const { clock, woken, connect } = setUp()
  const sessions = connect()
  openAll(sessions, 2)
  sessions.begin().refused(2)
  while (woken.length < 12) {
    assert.equal(sessions.room(2), 'no')
    assert.equal(sessions.room(1), 'yes')
    const before = woken.length
    while (woken.length === before) await clock.advance(1)
    if (sessions.room(2) === 'no') break
    const loan = sessions.lend(2)
    assert.equal(sessions.room(2), 'no', 'there is an attempt already')
    sessions.begin(loan).refused(2)
    loan.settle()
  }
  const gaps = woken.map((at, place) => at - (woken[place - 1] ?? 0))
  assert.deepEqual(gaps.slice(0, 10), [1, 2, 4, 8, 16, 32, 64, 128, 256, 512])
})

test('a burst of refusals is one', async () => {
  const { clock, connect, host } = setUp()
  const sessions = connect()
  await clock.advance(REAP_MS)
  const [first, ...others] = Array.from({ length: 8 }, () => sessions.begin())
  first?.opened()
  for (const session of others) session.refused(1)
  assert.equal(host.learnt(), 1)
  await clock.advance(3_000)
  assert.equal(sessions.room(1), 'attempt')
})

test('a wrong lesson is doubted after three seconds, and forgotten as fast as the host answers', async () => {
  const { clock, connect, host, changes } = setUp()
  const sessions = connect()
  await clock.advance(REAP_MS)
  openAll(sessions, 1)
  sessions.begin().refused(1)
  assert.equal(host.learnt(), 1)
  await clock.advance(2_999)
  assert.equal(sessions.room(1), 'no')
  await clock.advance(1)
  for (let used = 1; used < 8; used++) {
    assert.equal(sessions.room(used), 'attempt')
    const loan = sessions.lend(used)
    openAll(sessions, 1)
    loan.settle()
    assert.equal(host.learnt(), used + 1)
  }
  assert.equal(changes(), 8)
})

test('a limit that is confirmed is doubted less and less often, a new one soon again', async () => {
  const { clock, connect, host, woken } = setUp()
  const sessions = connect()
  const [one] = openAll(sessions, 2)
  await clock.advance(REAP_MS)
  const attempts: number[] = []
  sessions.begin().refused(2)
  while (clock.monotonic() < 1_000_000) {
    const before = woken.length
    while (woken.length === before) await clock.advance(500)
    if (sessions.room(2) !== 'attempt') continue
    attempts.push(clock.monotonic())
    const loan = sessions.lend(2)
    sessions.begin(loan).refused(2)
    loan.settle()
  }
  assert.equal(host.learnt(), 2)
  assert.ok(attempts.length <= 11, `${attempts.length} attempts in 1,000 seconds`)
  one?.ended()
  await clock.advance(2_000)
  const fresh = connect()
  openAll(fresh, 1)
  await clock.advance(2_000)
  fresh.begin().refused(1)
  assert.equal(host.learnt(), 1)
  await clock.advance(3_000)
  assert.equal(host.mayProbe(), true)
})

test('what the host has closed and nobody has read yet proves nothing', () => {
  const { connect } = setUp()
  const sessions = connect()
  const closed = { incoming: { state: 'open' } }
  sessions.begin().opened(closed as never)
  closed.incoming.state = 'closed'
  openAll(sessions, 1)
  assert.equal(sessions.proven(), 1)
  openAll(sessions, 1)
  assert.equal(sessions.proven(), 2)
})

test('a host that counts none of ours and refuses is not asked again, and nothing is learnt of it', async () => {
  const { clock, connect, host } = setUp()
  const sessions = connect()
  assert.equal(sessions.begin().refused(1), true, 'the question for the login shell may still count')
  await clock.advance(REAP_MS)
  assert.equal(sessions.begin().refused(1), false)
  assert.equal(host.learnt(), 1)
  assert.equal(sessions.room(0), 'attempt', 'others are told the same at once')
})
