import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { until } from '../../test/helpers/processes.ts'
import { systemClock } from '../core/clock.ts'
import type { Logger } from '../core/context.ts'
import type { Readiness } from './instance.ts'
import { createServiceManager, watchdogMs } from './service-manager.ts'

/** The receiving end as systemd has it: a datagram socket of the Unix kind, which Node cannot open. */
const RECEIVER = `
import socket, sys
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
print('listening', flush=True)
while True:
    print(receiver.recv(4096).decode().replace('\\n', ' '), flush=True)
`

const has = (program: string) => spawnSync(program, ['--version']).status === 0
const missing = ['systemd-notify', 'python3'].filter((program) => !has(program))
const skip = missing.length === 0 ? false : `not on this machine: ${missing.join(', ')}`

async function receiver() {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-notify-'))
  const path = join(folder, 'notify')
  const child = spawn('python3', ['-c', RECEIVER, path], { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines: string[] = []
  child.stdout.setEncoding('utf8').on('data', (text: string) => lines.push(...text.trim().split('\n')))
  while (lines[0] !== 'listening') await delay(10)
  lines.length = 0
  return {
    path,
    lines,
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL')
      await once(child, 'close')
      await rm(folder, { recursive: true })
    },
  }
}

function managerOf(env: Readonly<Record<string, string>>, vitals: () => Promise<Readiness>) {
  const log: string[] = []
  const note = (message: string) => void log.push(message)
  const logger: Logger = { debug: note, info: note, warn: note, error: note }
  return { log, manager: createServiceManager({ env, vitals, clock: systemClock, log: logger }) }
}

const well = async () => ({ ready: true, reasons: [] })

suite('what systemd is told', () => {
  test('that it is ready, alive and stopping, in this order', { skip }, async () => {
    await using systemd = await receiver()
    const env = { NOTIFY_SOCKET: systemd.path, WATCHDOG_USEC: '200000', WATCHDOG_PID: String(process.pid) }
    const { manager, log } = managerOf(env, well)
    const { lines } = systemd
    const told = (what: string) => lines.filter((line) => line.includes(what)).length
    await manager.ready()
    assert.ok(await until(() => told('WATCHDOG=1') >= 3), lines.join('\n'))
    manager.stop()
    await manager.stopping()
    assert.ok(await until(() => told('STOPPING=1') === 1), lines.join('\n'))
    assert.match(lines[0] ?? '', new RegExp(`READY=1.*MAINPID=${process.pid}|MAINPID=${process.pid}.*READY=1`))
    assert.deepEqual(log, [])
    // One look may have been under way when it was stopped; after that, nothing.
    await delay(500)
    const after = lines.length
    await delay(500)
    assert.equal(lines.length, after)
  })

  test('nothing of being alive while it is not well', { skip }, async () => {
    await using systemd = await receiver()
    let ready = false
    const vitals = async () => ({ ready, reasons: ready ? [] : ['MHV_JOURNAL_FULL'] })
    const { manager, log } = managerOf({ NOTIFY_SOCKET: systemd.path, WATCHDOG_USEC: '100000' }, vitals)
    await manager.ready()
    await delay(300)
    assert.deepEqual(
      systemd.lines.filter((line) => line.includes('WATCHDOG')),
      [],
    )
    assert.ok(log.length > 0)
    ready = true
    assert.ok(await until(() => systemd.lines.some((line) => line.includes('WATCHDOG=1'))))
    manager.stop()
  })

  test('nothing where nobody asks, and a socket that is gone is told to the log', async () => {
    const quiet = managerOf({}, () => assert.fail('nobody looks'))
    await quiet.manager.ready()
    await quiet.manager.stopping()
    assert.deepEqual(quiet.log, [])
    const lost = managerOf({ NOTIFY_SOCKET: '/nowhere/notify' }, well)
    await lost.manager.ready()
    assert.deepEqual(lost.log, ['systemd was not told'])
  })

  test('the watchdog is for this process only, and half of its time is the rhythm', () => {
    assert.equal(watchdogMs({ WATCHDOG_USEC: '30000000' }, 7), 15_000)
    assert.equal(watchdogMs({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '7' }, 7), 15_000)
    assert.equal(watchdogMs({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '8' }, 7), null)
    for (const WATCHDOG_USEC of ['', '0', '-5', '1e9', 'x']) assert.equal(watchdogMs({ WATCHDOG_USEC }, 7), null)
  })
})
