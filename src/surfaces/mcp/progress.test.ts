import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ServerContext } from '@modelcontextprotocol/server'
import type { Clock } from '../../core/clock.ts'
import { progressReports } from './progress.ts'

/** A clock that is turned by hand. */
function handClock() {
  let now = 0
  let timers: { at: number; callback: () => void }[] = []
  const clock: Clock = {
    now: () => now,
    monotonic: () => now,
    sleep: async () => undefined,
    after(ms, callback) {
      const timer = { at: now + ms, callback }
      timers.push(timer)
      return () => {
        timers = timers.filter((each) => each !== timer)
      }
    },
  }
  function turn(ms: number): void {
    const until = now + ms
    for (;;) {
      const [next] = timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)
      if (next === undefined) break
      timers = timers.filter((each) => each !== next)
      now = next.at
      next.callback()
    }
    now = until
  }
  return { clock, turn }
}

function request(progressToken?: string) {
  const sent: { progress: number; total?: number; message?: string }[] = []
  const notify = async ({ params }: { params?: Record<string, unknown> }) => {
    sent.push(params as (typeof sent)[number])
  }
  return { sent, mcpReq: { _meta: { progressToken }, notify } as unknown as ServerContext['mcpReq'] }
}

describe('progress', () => {
  test('is told to nobody who did not ask', () => {
    const { clock, turn } = handClock()
    const { sent, mcpReq } = request()
    const reports = progressReports(mcpReq, clock)
    turn(60_000)
    assert.equal(reports.report, undefined)
    assert.deepEqual(sent, [])
  })

  test('has a heartbeat while nothing is reported, so that clients do not give up', () => {
    const { clock, turn } = handClock()
    const { sent, mcpReq } = request('t')
    const reports = progressReports(mcpReq, clock)
    turn(12_000)
    assert.deepEqual(
      sent.map(({ message }) => message),
      ['running for 5.00 s', 'running for 10.0 s'],
    )
    reports.stop()
    turn(60_000)
    assert.equal(sent.length, 2)
  })

  test('rises with every message, whatever is reported', () => {
    const { clock, turn } = handClock()
    const { sent, mcpReq } = request('t')
    const { report } = progressReports(mcpReq, clock)
    report?.({ progress: 3, total: 10, message: 'third\x1b[2J' })
    turn(11_000)
    report?.({ progress: 2, total: 10 })
    report?.({ progress: 10, total: 10 })
    report?.({ progress: 10, total: 10 })
    const values = sent.map(({ progress }) => progress)
    assert.deepEqual(
      values,
      [...new Set(values)].sort((a, b) => a - b),
    )
    assert.ok(sent.every(({ progress, total = 0 }) => total >= progress))
    assert.equal(sent[0]?.message, 'third')
    assert.equal(sent[1]?.message, 'third, running for 5.00 s')
  })
})
