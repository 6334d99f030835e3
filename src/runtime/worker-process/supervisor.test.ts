import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { processSettings } from '../../config/isolation-schema.ts'
import { mhvError } from '../../core/errors.ts'
import { createFakeClock } from '../../testing/fake-clock.ts'
import type { Child } from './start-child.ts'
import { createSupervisor } from './supervisor.ts'

const MEBIBYTE = 1_048_576

interface FakeChild extends Child {
  /** Why it was ended by the supervisor; undefined while it was not. */
  killedFor?: string
  answers: boolean
  held: number
  heldBack: boolean
  die(why: string): void
}

function fakeChild(pid: number): FakeChild {
  const { promise, resolve } = Promise.withResolvers<string>()
  let over = false
  const child: FakeChild = {
    pid,
    gone: promise,
    limitedBy: 'watchdog',
    answers: true,
    held: 0,
    heldBack: false,
    isGone: () => over,
    isHeldBack: () => child.heldBack,
    memory: () => child.held,
    die(why) {
      over = true
      resolve(why)
    },
    kill(why) {
      child.killedFor ??= why
      child.die(why)
    },
    end: async () => child.die('ended'),
    peer: {
      call: async (method: string) => (method === 'look' && !child.answers ? new Promise(() => undefined) : { n: pid }),
      tell: () => undefined,
      receive: () => undefined,
      end: () => undefined,
    } as never,
  }
  return child
}

function supervised(settings: Readonly<Record<string, number>> = {}, start?: (signal: AbortSignal) => Promise<Child>) {
  const clock = createFakeClock(0)
  const children: FakeChild[] = []
  const lines: string[] = []
  const line = (message: string) => void lines.push(message)
  const supervisor = createSupervisor({
    worker: 'w',
    settings: processSettings.parse(settings),
    clock,
    log: { debug: line, info: line, warn: line, error: line },
    async start(signal) {
      if (start !== undefined) return start(signal)
      const child = fakeChild(children.length + 1)
      children.push(child)
      return child
    },
  })
  return { clock, children, lines, supervisor, last: () => children.at(-1) as FakeChild }
}

suite('the supervisor of a worker process', () => {
  test('starts one at the first call, and gives it to all', async () => {
    const { supervisor, children } = supervised()
    const [one, two] = await Promise.all([supervisor.ready(), supervisor.ready()])
    assert.equal(one, two)
    assert.equal(children.length, 1)
    assert.equal(supervisor.restarts(), 0)
  })

  test('RES-10: one that ends is replaced by itself, after a wait that grows and is drawn', async () => {
    const { supervisor, children, clock, last } = supervised()
    await supervisor.ready()
    last().die('killed by SIGKILL')
    await clock.advance(0)
    assert.equal(supervisor.current(), undefined)
    await clock.advance(200)
    assert.equal(children.length, 2)
    assert.equal((await supervisor.ready()).child.pid, 2)
    assert.equal(supervisor.restarts(), 1)
  })

  test('RES-10: after max_restarts within the window it stays down until the window has passed', async () => {
    const { supervisor, children, clock, last } = supervised({ max_restarts: 2, restart_window_seconds: 60 })
    await supervisor.ready()
    for (let end = 0; end < 3; end++) {
      assert.equal(supervisor.down(), false)
      last().die('crash')
      await clock.advance(2_000)
    }
    assert.equal(supervisor.down(), true)
    assert.equal(children.length, 3)
    await assert.rejects(supervisor.ready(), (error: { code?: string; retryAfter?: number }) => {
      assert.equal(error.code, 'MHV_WORKER_DOWN')
      assert.ok((error.retryAfter ?? 0) > 40 && (error.retryAfter ?? 0) <= 60, String(error.retryAfter))
      return true
    })
    await clock.advance(60_000)
    assert.equal(supervisor.down(), false)
    assert.equal((await supervisor.ready()).child.pid, 4)
  })

  test('RES-10: one that does not answer is ended after the heartbeat time, one that answers is not', async () => {
    const { supervisor, clock, last } = supervised({ heartbeat_seconds: 5 })
    const { child } = await supervisor.ready()
    await clock.advance(60_000)
    assert.equal(child.isGone(), false)
    last().answers = false
    await clock.advance(4_000)
    assert.equal(child.isGone(), false)
    await clock.advance(3_000)
    assert.equal((child as FakeChild).killedFor, 'it did not answer for 5 s')
  })

  test('RES-10: one that is held back because the journal is behind is not taken for one that hangs', async () => {
    const { supervisor, clock, last } = supervised({ heartbeat_seconds: 5 })
    const { child } = await supervisor.ready()
    last().answers = false
    last().heldBack = true
    await clock.advance(60_000)
    assert.equal(child.isGone(), false)
    last().heldBack = false
    await clock.advance(7_000)
    assert.equal(child.isGone(), true)
  })

  test('RES-10: one that ends while it starts is started again without a call, until it is given up', async () => {
    let starts = 0
    const first = fakeChild(1)
    const { supervisor, clock } = supervised({ max_restarts: 3 }, async () => {
      starts += 1
      if (starts === 1) return first
      throw mhvError('MHV_WORKER_DOWN', 'killed by SIGKILL')
    })
    await supervisor.ready()
    first.die('killed by SIGKILL')
    await clock.advance(60_000)
    assert.equal(starts, 4)
    assert.equal(supervisor.down(), true)
  })

  test('a restart that the worker itself refuses is not tried again before the next call', async () => {
    let starts = 0
    const first = fakeChild(1)
    const { supervisor, clock } = supervised({}, async () => {
      starts += 1
      if (starts === 1) return first
      throw mhvError('MHV_SECRET_UNRESOLVED', 'no such secret')
    })
    await supervisor.ready()
    first.die('killed by SIGKILL')
    await clock.advance(60_000)
    assert.equal(starts, 2)
  })

  test('closing tells one that is starting, and does not wait for it longer than that', async () => {
    let told = false
    const { supervisor } = supervised({}, (signal) => {
      const { promise, reject } = Promise.withResolvers<Child>()
      signal.addEventListener('abort', () => {
        told = true
        reject(signal.reason)
      })
      return promise
    })
    const waiting = supervisor.ready()
    await Promise.all([assert.rejects(waiting, { code: 'MHV_SHUTTING_DOWN' }), supervisor.close()])
    assert.equal(told, true)
  })

  test('RES-10: over its memory limit it gets nothing new and some time; far over it, none', async () => {
    const { supervisor, clock, children } = supervised({ memory_limit_mb: 200, drain_seconds: 10 })
    const serving = await supervisor.ready()
    const first = serving.child as FakeChild
    serving.busy = 1
    first.held = 220 * MEBIBYTE
    await clock.advance(2_000)
    assert.equal(first.isGone(), false)
    const next = await supervisor.ready()
    assert.notEqual(next.child, first)
    serving.busy = 0
    await clock.advance(500)
    assert.match(first.killedFor ?? '', /220 MiB; memory_limit_mb is 200/)
    // Its end was counted when it was replaced, not again now.
    assert.equal(children.length, 2)
    next.busy = 1
    ;(next.child as FakeChild).held = 260 * MEBIBYTE
    await clock.advance(1_000)
    assert.match((next.child as FakeChild).killedFor ?? '', /260 MiB/)
  })

  test('a drain ends at its time though runs are left', async () => {
    const { supervisor, clock } = supervised({ memory_limit_mb: 200, drain_seconds: 3 })
    const serving = await supervisor.ready()
    serving.busy = 1
    ;(serving.child as FakeChild).held = 220 * MEBIBYTE
    await clock.advance(3_500)
    assert.equal(serving.child.isGone(), false)
    await clock.advance(1_500)
    assert.equal(serving.child.isGone(), true)
  })

  test('a worker that cannot connect says why, and that is no end of a process', async () => {
    let starts = 0
    const { supervisor } = supervised({ max_restarts: 0 }, async () => {
      starts += 1
      throw mhvError('MHV_SECRET_UNRESOLVED', 'no such secret')
    })
    for (let call = 0; call < 3; call++) await assert.rejects(supervisor.ready(), { code: 'MHV_SECRET_UNRESOLVED' })
    assert.equal(starts, 3)
    assert.equal(supervisor.down(), false)
  })

  test('closing ends what is there, and nothing is started any more', async () => {
    const { supervisor, children, clock, last } = supervised()
    await supervisor.ready()
    const { child } = await supervisor.ready()
    await supervisor.close()
    assert.equal(child.isGone(), true)
    assert.equal(last().killedFor, undefined)
    await clock.advance(60_000)
    assert.equal(children.length, 1)
    await assert.rejects(supervisor.ready(), { code: 'MHV_SHUTTING_DOWN' })
  })
})
