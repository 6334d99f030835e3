import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { systemClock } from '../../src/core/clock.ts'
import { controlHost } from '../../src/workers/terminal/host/host-client.ts'
import { hostFolder } from '../../src/workers/terminal/host/host-folder.ts'
import { carrying } from '../helpers/processes.ts'
import { local, terminalFolder, waitUntil } from '../helpers/terminal-sessions.ts'

const LIMITS = { max_sessions: 50, memory_bytes: 1e9, idle_ms: 60_000, close_grace_ms: 200 }

test('TTY-09 what a program leaves behind in its terminal is ended after it, also what hears no HUP', async () => {
  const own = await terminalFolder()
  try {
    const sessions = await own.sessions({ close_grace: 0.3 })
    const command = ['sh', '-c', 'trap "" HUP; sleep 61 & exit 1']
    const session = await sessions.startLocal(local(command))
    session.onData(() => undefined)
    assert.equal((await session.exited).exit_code, 1)
    const leaders = new Set([session.info.pid as number])
    await waitUntil(
      () => membersOf(leaders).length === 0,
      5_000,
      'nothing is left, without anybody having closed the session',
    )
  } finally {
    await own.end()
  }
})

test('TTY-09 of 1,000 sessions no process and no descriptor is left', async (context) => {
  const own = await terminalFolder()
  try {
    const many = await own.sessions({ max_sessions: 50, max_sessions_per_owner: 50, close_grace: 0.2 })
    const warm = await many.startLocal(local(['true']))
    await warm.exited
    await warm.close()
    const counts = async () => {
      await many.disconnect()
      const client = await controlHost(hostFolder(own.path), LIMITS, systemClock, false)
      assert.ok(client !== null, 'the host is there')
      const stats = await client.call('stats', undefined)
      await client.disconnect()
      return stats
    }
    const first = await counts()
    const sessions = await own.sessions({ max_sessions: 50, max_sessions_per_owner: 50, close_grace: 0.2 })
    const began = performance.now()
    // Not by their numbers: those come round again while other tests run.
    const mark = randomUUID()
    // Programs that end by themselves, that have to be ended, that leave a job behind, and that hear no HUP.
    const commands = [['true'], ['cat'], ['sh', '-c', 'sleep 60 & exit 1'], ['sh', '-c', 'trap "" HUP; sleep 60']]
    for (let round = 0; round < 1_000; round += 20) {
      const batch = await Promise.all(
        Array.from({ length: 20 }, async (_, at) => {
          const command = commands[at % commands.length] as string[]
          const session = await sessions.startLocal(local(command, { env: { MHV_TEST_MARK: mark } }))
          session.onData(() => undefined)
          return session
        }),
      )
      await Promise.all(batch.map((session) => session.close()))
    }
    const seconds = (performance.now() - began) / 1_000
    assert.equal(sessions.list().length, 0)
    await sessions.disconnect()
    const last = await counts()
    assert.deepEqual(carrying(mark), [], 'processes of the sessions')
    assert.equal(last.sessions, 0)
    assert.ok(
      last.descriptors <= first.descriptors,
      `${first.descriptors} descriptors before, ${last.descriptors} after`,
    )
    context.diagnostic(
      `${seconds.toFixed(1)} s, ${last.descriptors} descriptors, ${Math.round(last.rss_bytes / 1e6)} MB`,
    )
    assert.ok(seconds < 120, `it took ${seconds.toFixed(0)} s`)
  } finally {
    await own.end()
  }
})

/** Processes whose session has one of these leaders; what has ended and waits for init to ask is none. */
function membersOf(leaders: ReadonlySet<number>): number[] {
  const pids = readdirSync('/proc').map(Number).filter(Number.isInteger)
  return pids.filter((pid) => {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
      const [state, parent, , session] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return leaders.has(Number(session)) && !(state === 'Z' && parent === '1')
    } catch {
      return false
    }
  })
}
