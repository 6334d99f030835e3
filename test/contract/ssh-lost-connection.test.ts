import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { certaintyOf } from '../../src/core/result.ts'
import { endSession } from '../../src/workers/ssh/remote-kill.ts'
import { type CommandParts, judgeEnd, runCommand } from '../../src/workers/ssh/run-command.ts'
import { carrying, endAll, endRuns, until } from '../helpers/processes.ts'
import { operationContext, startWorker, type TestRun, type TestWorker, targetOf } from '../helpers/ssh-context.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'
import { startTcpProxy, type TcpProxy } from '../helpers/tcp-proxy.ts'

/** SSH-02: a lost connection is never a success. */

const skip = sshdMissing()
let sshd: Sshd
let proxy: TcpProxy
let worker: TestWorker
const runs: string[] = []

before(async () => {
  if (skip) return
  sshd = await startSshd()
  proxy = await startTcpProxy({ port: sshd.port })
  worker = await startWorker({ settings: { keepalive_interval: 0.2, keepalive_count_max: 2 } })
})
after(async () => {
  if (skip) return
  await worker.close()
  await proxy.close()
  await endRuns(runs)
  await sshd.stop()
})

function start(options: { direct?: boolean; settings?: object } = {}): TestRun {
  const alias = { host_key_alias: `[127.0.0.1]:${sshd.port}` }
  const target = options.direct ? targetOf(sshd) : targetOf(sshd, { port: proxy.port, ...alias })
  const run = operationContext(worker, target, { settings: options.settings })
  runs.push(run.run_id)
  return run
}

type Failed = Error & { code: string; details?: Record<string, unknown> }

async function lost(running: Promise<unknown>): Promise<Failed> {
  const error = await running.then(
    (data) => assert.fail(`it was reported as done: ${JSON.stringify(data)}`),
    (thrown: Failed) => thrown,
  )
  assert.equal(error.code, 'MHV_SSH_CONNECTION_LOST', error.message)
  assert.equal(certaintyOf('MHV_SSH_CONNECTION_LOST'), 'unknown')
  return error
}

/** Starts a command, waits until it runs on the host, and breaks something. */
async function broken(
  breakIt: () => void | Promise<void>,
  parts?: CommandParts,
  command = 'sleep 30',
): Promise<unknown> {
  const run = start({ direct: breakIt === killServerProcess })
  const running = runCommand(run, { command: `: begun; ${command}` }, parts)
  running.catch(() => undefined)
  assert.ok(await until(() => carrying(run.run_id).length > 0))
  await delay(50)
  await breakIt()
  return running
}

/** The process of sshd that serves the connection, not the one that listens. */
async function killServerProcess(): Promise<void> {
  await endAll(sshd.connections())
}
const cut = () => proxy.cut()

test("SSH-02: sshd's process killed while the command runs", { skip }, async () => {
  const error = await lost(broken(killServerProcess))
  assert.equal(typeof error.details?.pid, 'number')
})

test('SSH-02: the TCP connection cut while the command runs', { skip }, async () => {
  await lost(broken(cut))
})

test('SSH-02: cut while a lot of output is under way, to a slow reader too', { skip }, async () => {
  await lost(broken(cut, undefined, 'cat /dev/zero'))
  await lost(broken(killServerProcess, undefined, 'cat /dev/zero >&2'))
})

test('SSH-02: cut while standard input is under way', { skip }, async () => {
  const run = start()
  const running = runCommand(run, { command: 'sleep 30', stdin: 'x'.repeat(8 * 1024 * 1024) })
  running.catch(() => undefined)
  assert.ok(await until(() => carrying(run.run_id).length > 0))
  await delay(100)
  proxy.cut()
  await lost(running)
})

test('SSH-02: a link that goes dead is noticed by keepalive', { skip }, async () => {
  const started = performance.now()
  await lost(broken(() => proxy.stall()))
  assert.ok(performance.now() - started < 5_000)
  proxy.cut()
  proxy.resume()
})

test('SSH-02: a command that exits as the connection is cut is not done unless its output is all here', {
  skip,
}, async () => {
  // The cut comes later each time, from at once to well after the end, however slow the machine is: a result only
  // ever comes whole.
  const tries = 16
  let results = 0
  for (let n = 0; n < tries; n++) {
    const run = start()
    const running = runCommand(run, { command: 'sleep 0.03; head -c 300000 /dev/zero; exit 0' })
    const settled = running.then(
      (data) => assert.equal(data.stdout_bytes, 300_000, 'a result with some of its output missing'),
      (error: Failed) => assert.match(error.code, /MHV_SSH_(CONNECTION_LOST|CONNECT_FAILED)/),
    )
    await until(() => carrying(run.run_id).length > 0, 200)
    await delay(10 * 1.4 ** n)
    proxy.cut()
    await settled
    if (run.output.bytes('stdout').length === 300_000) results += 1
  }
  assert.ok(results > 0 && results < tries, `${results} of ${tries} were done before the cut`)
})

test('SSH-02: negative control: who takes the end of the channel for success reports a lost command as done', {
  skip,
}, async () => {
  const naive: CommandParts = {
    endSession,
    judge: (end) => {
      const { report } = end
      return end.exit
        ? judgeEnd(end)
        : { exit: { code: 0, signal: null }, pid: report?.kind === 'started' ? report.pid : 1 }
    },
  }
  await assert.rejects(lost(broken(killServerProcess, naive)), /it was reported as done/)
  await assert.rejects(lost(broken(cut, naive)), /it was reported as done/)
})

test('SSH-02: lost before the command was sent is certainty none, and the command did not run', { skip }, async () => {
  const witness = join(sshd.folder, 'witness')
  const first = start()
  await runCommand(first, { command: 'true' })
  // The connection is known to be good; then the link dies, and the next command goes into it.
  const before = proxy.bytesIn()
  proxy.stall()
  const running = runCommand(start(), { command: `touch ${witness}` })
  const settled = running.then(
    () => assert.fail('done'),
    (error: Failed) => error,
  )
  assert.ok(await until(() => proxy.bytesIn() > before))
  proxy.cut()
  proxy.resume()
  const error = await settled
  assert.equal(error.code, 'MHV_SSH_CONNECT_FAILED')
  assert.equal(certaintyOf('MHV_SSH_CONNECT_FAILED'), 'none')
  await delay(200)
  assert.equal(existsSync(witness), false)
  await rm(witness, { force: true })
})

test('SSH-02: lost between the request for a channel and the answer to the command is told by what was sent', {
  skip,
}, async () => {
  // Each round lets a little more through: first the channel, then the command, then its answer.
  const codes = new Set<string>()
  for (let round = 0; round < 12; round++) {
    const witness = join(sshd.folder, `witness-${round}`)
    await runCommand(start(), { command: 'true' })
    proxy.delay(8)
    const run = start()
    const settled = runCommand(run, { command: `touch ${witness}; sleep 5` }).then(
      () => assert.fail('done'),
      (error: Failed) => error,
    )
    await delay(4 + round * 5)
    proxy.cut()
    const error = await settled
    proxy.delay(0)
    codes.add(error.code)
    await delay(150)
    if (error.code === 'MHV_SSH_CONNECT_FAILED') assert.equal(existsSync(witness), false, `round ${round}`)
    else assert.equal(error.code, 'MHV_SSH_CONNECTION_LOST')
  }
  assert.deepEqual([...codes].sort(), ['MHV_SSH_CONNECTION_LOST', 'MHV_SSH_CONNECT_FAILED'])
})

test('after a loss the next command gets a new connection', { skip }, async () => {
  await lost(broken(cut))
  assert.equal((await runCommand(start(), { command: 'echo back' })).stdout, 'back\n')
})

test('a server that was restarted is found again', { skip }, async () => {
  const first = await startSshd()
  const target = targetOf(first)
  const run = () => runCommand(operationContext(worker, target), { command: 'echo here' })
  assert.equal((await run()).stdout, 'here\n')
  const connections = worker.pool.stats().connections as number
  await first.stop(true)
  assert.ok(await until(() => (worker.pool.stats().connections as number) < connections))
  await assert.rejects(run(), { code: 'MHV_SSH_CONNECT_REFUSED' })
  const second = await startSshd({ port: first.port, folder: first.folder })
  try {
    assert.equal((await run()).stdout, 'here\n')
  } finally {
    await second.stop()
  }
})
