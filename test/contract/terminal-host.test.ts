import assert from 'node:assert/strict'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { systemClock } from '../../src/core/clock.ts'
import { controlHost } from '../../src/workers/terminal/host/host-client.ts'
import { hostFiles, hostFolder } from '../../src/workers/terminal/host/host-folder.ts'
import {
  isAlive,
  local,
  readText,
  type TerminalFolder,
  terminalFolder,
  waitUntil,
} from '../helpers/terminal-sessions.ts'

const LIMITS = { max_sessions: 9, memory_bytes: 1e9, idle_ms: 60_000, close_grace_ms: 500 }

let folder: TerminalFolder
before(async () => {
  folder = await terminalFolder()
})
after(() => folder?.end())

test('socket and token are for this user only, and no variable or descriptor of ours reaches a session', async () => {
  process.env.MHV_TEST_HIDDEN = 'hidden'
  const sessions = await folder.sessions()
  const session = await sessions.startLocal(
    local(['sh', '-c', 'env; echo fds: $(ls /proc/self/fd); umask'], { env: { GIVEN: 'yes' } }),
  )
  const output = readText(session)
  await session.exited
  delete process.env.MHV_TEST_HIDDEN
  const { socket, token } = hostFiles(hostFolder(folder.path))
  for (const file of [socket, token]) assert.equal(statSync(file).mode & 0o777, 0o600)
  assert.match(output.text(), /GIVEN=yes\r\n/)
  assert.match(output.text(), /TERM=xterm-256color\r\n/)
  assert.doesNotMatch(output.text(), /hidden|NODE_/)
  // Three of its own, and that of the listing itself.
  assert.match(output.text(), /fds: 0 1 2 3\r\n/)
  const umask = process.umask()
  assert.ok(output.text().endsWith(`${umask.toString(8).padStart(4, '0')}\r\n`))
  await session.close()
  await sessions.disconnect()
})

test('a second controller is refused while there is one, and one with a wrong token always', async () => {
  const sessions = await folder.sessions()
  const session = await sessions.startLocal(local(['cat']))
  await assert.rejects(controlHost(hostFolder(folder.path), LIMITS, systemClock, false), {
    code: 'MHV_TERMINAL_HOST_BUSY',
  })
  await session.close()
  await sessions.disconnect()
})

test('TTY-06 a signal reaches the foreground job, and not the shell behind it', async () => {
  const sessions = await folder.sessions()
  const session = await sessions.startLocal(
    local(['sh', '-m', '-c', 'trap "echo shell got it" TERM; sleep 100; echo job: $?; cat']),
  )
  const output = readText(session)
  await waitUntil(() => childOf(session.info.pid) !== undefined, 5_000, 'the job runs')
  await delay(100)
  await session.signal('SIGTERM')
  await waitUntil(() => output.text().includes('job: 143'), 5_000, 'the job has ended')
  assert.doesNotMatch(output.text(), /shell got it/)
  assert.equal(session.exit(), null)
  await session.close()
  await sessions.disconnect()
})

test('what was typed arrives, resizing reaches the program, and a program that reads nothing holds up only its own input', async () => {
  const sessions = await folder.sessions()
  const stuck = await sessions.startLocal(local(['sh', '-c', 'stty raw -echo; echo ready; sleep 100']))
  const ready = readText(stuck)
  await waitUntil(() => ready.text().includes('ready'), 5_000, 'the program is ready')
  const first = stuck.write(Buffer.alloc(1_000_000))
  first.catch(() => undefined)
  await assert.rejects(stuck.write(Buffer.alloc(900_000)), { code: 'MHV_TERMINAL_INPUT_FULL' })

  const other = await sessions.startLocal(
    local(['sh', '-c', 'trap "stty size" WINCH; stty -echo; while :; do read line && echo "<$line>"; done']),
  )
  const output = readText(other)
  await delay(100)
  await other.write(Buffer.from('typed\n'))
  await waitUntil(() => output.text().includes('<typed>'), 5_000, 'the line is read')
  await other.resize(50, 132)
  await other.write(Buffer.from('more\n'))
  await waitUntil(() => output.text().includes('50 132'), 5_000, 'TTY-05: the program knows its size')
  assert.deepEqual(other.size(), { rows: 50, cols: 132 })
  await stuck.close()
  await assert.rejects(first, { code: 'MHV_TERMINAL_ENDED' })
  await other.close()
  await sessions.disconnect()
})

test('limits: sessions in all and of one owner, time without use, time in all, memory', async () => {
  const own = await terminalFolder()
  try {
    const sessions = await own.sessions({
      max_sessions: 3,
      max_sessions_per_owner: 2,
      idle_timeout: 1,
      max_lifetime: 3,
      close_grace: 0.3,
    })
    const quiet = await sessions.startLocal(local(['cat']))
    const busy = await sessions.startLocal(local(['sh', '-c', 'trap "" HUP; while :; do echo; sleep 0.1; done']))
    const lines = readText(busy)
    await assert.rejects(sessions.startLocal(local(['cat'])), {
      code: 'MHV_TERMINAL_LIMIT',
      message: /max_sessions_per_owner/,
    })
    const others = await sessions.startLocal(local(['cat'], { owner: 'user:other' }))
    await assert.rejects(sessions.startLocal(local(['cat'], { owner: 'user:third' })), {
      message: /terminal\.max_sessions /,
    })
    assert.equal((await quiet.exited).reason, 'idle')
    assert.equal((await others.exited).reason, 'idle')
    assert.equal(busy.exit(), null)
    const end = await busy.exited
    assert.deepEqual([end.reason, end.signal], ['lifetime', 'SIGKILL'])
    assert.ok(lines.text().length > 20)
    await waitUntil(() => sessions.list().length === 0, 5_000, 'sessions that ended are forgotten after the idle time')
    await sessions.disconnect()

    const small = await own.sessions({ memory_limit_mb: 64, scrollback_bytes: 1_048_576 })
    await assert.rejects(small.startLocal(local(['cat'])), { code: 'MHV_TERMINAL_LIMIT', message: /memory_limit_mb/ })
    await small.disconnect()
  } finally {
    await own.end()
  }
})

test('a host without controller and sessions ends by itself and leaves no file that leads to it', async () => {
  const own = await terminalFolder()
  try {
    const sessions = await own.sessions({ host_idle_timeout: 0.5 })
    const session = await sessions.startLocal(local(['true']))
    await session.exited
    await session.close()
    await sessions.disconnect()
    const { socket, token } = hostFiles(hostFolder(own.path))
    await waitUntil(() => !exists(socket) && !exists(token), 10_000, 'the host has ended')
  } finally {
    await own.end()
  }
})

test('a host that dies leaves its sessions lost, and the next session has a new one', async () => {
  const own = await terminalFolder()
  try {
    const sessions = await own.sessions()
    const session = await sessions.startLocal(local(['cat']))
    session.onData(() => undefined)
    const host = parentOf(session.info.pid as number)
    process.kill(host, 'SIGKILL')
    const { reason, exit_code, signal } = await session.exited
    assert.deepEqual({ reason, exit_code, signal }, { reason: 'lost', exit_code: null, signal: null })
    await assert.rejects(session.write(Buffer.from('x')), { code: 'MHV_TERMINAL_LOST' })
    await assert.rejects(session.read(0), { code: 'MHV_TERMINAL_LOST' })
    const next = await sessions.startLocal(local(['echo', 'again']))
    const output = readText(next)
    assert.equal((await next.exited).exit_code, 0)
    assert.equal(output.text(), 'again\r\n')
    assert.notEqual(parentOf(next.info.pid as number), host)
    await sessions.disconnect()
  } finally {
    await own.end()
  }
})

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined
}

/** 0 once it is gone. */
function parentOf(pid: number): number {
  if (!isAlive(pid)) return 0
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
}

function childOf(pid: number | null): number | undefined {
  return readdirSync('/proc')
    .map(Number)
    .filter(Number.isInteger)
    .find((each) => {
      try {
        return parentOf(each) === pid
      } catch {
        return false
      }
    })
}
