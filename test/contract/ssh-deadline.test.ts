import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { certaintyOf } from '../../src/core/result.ts'
import { KILL_REPORT } from '../../src/workers/ssh/kill-script.ts'
import { UNKNOWN_END } from '../../src/workers/ssh/remote-kill.ts'
import { type CommandParts, judgeEnd, runCommand } from '../../src/workers/ssh/run-command.ts'
import type { SshSettings } from '../../src/workers/ssh/settings.ts'
import { carrying, endAll, endRuns, noneCarries, runIdOf, sessionOf, until } from '../helpers/processes.ts'
import { operationContext, startWorker, type TestRun, type TestWorker, targetOf } from '../helpers/ssh-context.ts'
import { makeUser } from '../helpers/ssh-user.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'
import { startTcpProxy, type TcpProxy } from '../helpers/tcp-proxy.ts'

/** SSH-03: at the deadline the command's processes on the host are ended, or it is said that this is not known. */

const skip = sshdMissing()
let sshd: Sshd
let proxy: TcpProxy
let worker: TestWorker
const runs: string[] = []
const folder = mkdtempSync(join(tmpdir(), 'mhv-deadline-'))

before(async () => {
  if (skip) return
  sshd = await startSshd()
  proxy = await startTcpProxy({ port: sshd.port })
  worker = await startWorker({ settings: { kill_grace: 0.3, connect_timeout: 2 } })
})
after(async () => {
  rmSync(folder, { recursive: true })
  if (skip) return
  await worker.close()
  await proxy.close()
  await endRuns(runs)
  await sshd.stop()
})

function start(
  options: { through?: TcpProxy; timeoutMs?: number; settings?: Partial<SshSettings>; on?: Sshd } = {},
): TestRun {
  const alias = { host_key_alias: `[127.0.0.1]:${sshd.port}` }
  const target = options.through
    ? targetOf(sshd, { port: options.through.port, ...alias })
    : targetOf(options.on ?? sshd)
  const run = operationContext(worker, target, options)
  runs.push(run.run_id)
  return run
}

interface Left {
  readonly pid: number
  readonly command: string
}
type Failed = Error & {
  code: string
  details: { remote: string; left_session: Left[]; still_running: Left[]; pid?: number }
}

/** Runs a command until `ready` holds, lets its deadline come, and returns what was thrown. */
async function expired(
  run: TestRun,
  command: string,
  ready: () => boolean = () => sessionOf(carrying(run.run_id)[0] ?? -1).length > 0,
  parts?: CommandParts,
): Promise<Failed> {
  const running = runCommand(run, { command }, parts)
  running.catch(() => undefined)
  assert.ok(await until(ready), 'the command has begun')
  await delay(50)
  run.expire()
  return running.then(
    (data) => assert.fail(`done: ${JSON.stringify(data)}`),
    (error: Failed) => error,
  )
}

const left = (run: TestRun) => carrying(run.run_id)
const nothingLeft = (run: TestRun, when?: string) => noneCarries(run.run_id, when)
const file = (name: string) => join(folder, name)

test('SSH-03: a command that never ends is ended on the host at its deadline', { skip }, async () => {
  const run = start()
  const error = await expired(run, 'sleep 300')
  assert.equal(error.code, 'MHV_SSH_COMMAND_TIMEOUT')
  assert.equal(certaintyOf('MHV_SSH_COMMAND_TIMEOUT'), 'unknown')
  assert.match(error.message, /was not done at its deadline; its session on the host was ended$/)
  assert.deepEqual({ ...error.details, pid: 0 }, { remote: 'ended', left_session: [], still_running: [], pid: 0 })
  nothingLeft(run)
})

test('SSH-03: the deadline comes by itself, and what was said until then is kept', { skip }, async () => {
  const run = start({ timeoutMs: 400 })
  await assert.rejects(runCommand(run, { command: 'echo before; sleep 300' }), { code: 'MHV_SSH_COMMAND_TIMEOUT' })
  assert.equal(run.output.bytes('stdout').toString(), 'before\n')
  nothingLeft(run)
})

const STUBBORN = `trap '' TERM INT HUP
(trap '' TERM; while :; do sleep 0.05; done) &
(sh -c '(trap "" TERM; touch ${file('ready')}; sleep 300 & sleep 300; sleep 300) &' &)
while :; do sleep 0.05; done`

async function assertNothingLeft(parts?: CommandParts): Promise<void> {
  rmSync(file('ready'), { force: true })
  const run = start()
  await expired(run, STUBBORN, () => existsSync(file('ready')) && left(run).length >= 4, parts)
  await delay(100)
  const survivors = left(run)
  await endAll(survivors)
  assert.deepEqual(survivors, [], 'processes are left on the host')
}

test('SSH-03: children that ignore TERM, and children of children that nobody waits for, are ended too', { skip }, () =>
  assertNothingLeft(),
)

test('SSH-03: negative control: without the second exec, processes are left on the host', { skip }, async () => {
  const withoutKill: CommandParts = { judge: judgeEnd, endSession: async () => UNKNOWN_END }
  await assert.rejects(assertNothingLeft(withoutKill), /processes are left on the host/)
})

test('SSH-03: a program that ends itself at TERM can tidy up', { skip }, async () => {
  const run = start({ settings: { kill_grace: 5 } })
  const command = `trap 'echo tidied; exit 0' TERM; touch ${file('tidy')}; while :; do sleep 0.05; done`
  const started = performance.now()
  const error = await expired(run, command, () => existsSync(file('tidy')))
  assert.equal(error.details.remote, 'ended')
  assert.equal(run.output.bytes('stdout').toString(), 'tidied\n')
  assert.ok(performance.now() - started < 4_000, 'KILL was not waited for')
})

test('SSH-03: what has left the session by setsid is named and not ended', { skip }, async () => {
  const run = start()
  const error = await expired(run, 'setsid sleep 301 & sleep 300', () => left(run).length >= 3)
  const survivors = left(run)
  assert.equal(survivors.length, 1)
  assert.equal(error.details.remote, 'left')
  assert.deepEqual(error.details.left_session, [{ pid: survivors[0], command: 'sleep' }])
  assert.deepEqual(error.details.still_running, [])
  assert.match(error.message, new RegExp(`there still run ${survivors[0]} \\(sleep\\), which were left alone`))
  await endAll(survivors)
})

test('SSH-03: a process that holds the output open after the command has exited is ended', { skip }, async () => {
  const run = start()
  const error = await expired(run, 'sleep 300 & exit 5', () => left(run).length === 1)
  assert.match(error.message, /ended with exit code 5, but what it left behind held its output open/)
  assert.equal(error.details.remote, 'ended')
  nothingLeft(run)
})

test('SSH-03: the connection cut at the deadline: the session is ended over a new one', { skip }, async () => {
  const cut = start({ through: proxy })
  const running = runCommand(cut, { command: 'sleep 300' })
  running.catch(() => undefined)
  assert.ok(await until(() => left(cut).length > 0))
  await delay(50)
  cut.expire()
  proxy.cut()
  const lost: Failed = await running.then(
    () => assert.fail('done'),
    (thrown: Failed) => thrown,
  )
  assert.equal(lost.code, 'MHV_SSH_COMMAND_TIMEOUT')
  assert.equal(lost.details.remote, 'ended')
  nothingLeft(cut)
})

test('SSH-03: a dead link at the deadline: the session is ended over a new connection', { skip }, async () => {
  const dead = await startTcpProxy({ port: sshd.port })
  try {
    const run = start({ through: dead })
    const running = runCommand(run, { command: 'sleep 300' })
    running.catch(() => undefined)
    assert.ok(await until(() => left(run).length > 0))
    await delay(100)
    dead.stallOpen()
    run.expire()
    const error: Failed = await running.then(
      () => assert.fail('done'),
      (thrown: Failed) => thrown,
    )
    assert.equal(error.details.remote, 'ended')
    nothingLeft(run)
  } finally {
    await dead.close()
  }
})

test('SSH-03: an unreachable host: it is said that nothing is known', { skip }, async () => {
  const gone = await startTcpProxy({ port: sshd.port })
  const run = start({ through: gone })
  const running = runCommand(run, { command: 'echo begun; sleep 300' })
  running.catch(() => undefined)
  assert.ok(await until(() => run.output.bytes('stdout').length > 0))
  run.expire()
  await gone.close()
  const error: Failed = await running.then(
    () => assert.fail('done'),
    (thrown: Failed) => thrown,
  )
  assert.equal(error.code, 'MHV_SSH_COMMAND_TIMEOUT')
  assert.equal(error.details.remote, 'unknown')
  assert.match(error.message, /whether it still runs on the host is unknown \(its shell was process [0-9]+\)/)
  assert.ok(left(run).length > 0, 'and in fact it does')
  await endAll(left(run))
})

test('SSH-03: a cancelled command is ended in the same way, with the code of the cancellation', { skip }, async () => {
  const run = start()
  const running = runCommand(run, { command: 'sleep 300' })
  running.catch(() => undefined)
  assert.ok(await until(() => left(run).length > 0))
  run.cancel()
  const error: Failed = await running.then(
    () => assert.fail('done'),
    (thrown: Failed) => thrown,
  )
  assert.equal(error.code, 'MHV_RUN_CANCELLED')
  assert.match(error.message, /cancelled by user:test; its session on the host was ended/)
  assert.equal(error.details.remote, 'ended')
  nothingLeft(run)
})

test('SSH-03: a shell that has not reported its PID yet is found', { skip }, async () => {
  // The profile of the account takes its time; the command is in the arguments of its shell all the while.
  const slow = await makeUser({ shell: '/bin/bash' })
  const own = await startSshd({ config: ['SetEnv SHLVL=0', `AuthorizedKeysFile ${sshd.folder}/authorized_keys`] })
  try {
    const target = targetOf(own, { user: slow.name, identity_files: [sshd.userKey] })
    const warm = operationContext(worker, target)
    // Slow the first time only: what ends it must get through the same profile.
    await runCommand(warm, { command: 'echo "[ -e went ] || { touch went; sleep 300; }" > .bashrc' })
    const run = operationContext(worker, target)
    runs.push(run.run_id)
    const running = runCommand(run, { command: 'echo begun' })
    running.catch(() => undefined)
    assert.ok(await until(() => carrying(`export MAHAVISHNU_RUN_ID='${run.run_id}'`).length > 0))
    await delay(200)
    run.expire()
    const error: Failed = await running.then(
      () => assert.fail('done'),
      (thrown: Failed) => thrown,
    )
    assert.equal(error.code, 'MHV_SSH_COMMAND_TIMEOUT')
    noneCarries(`export MAHAVISHNU_RUN_ID='${run.run_id}'`)
  } finally {
    await own.stop()
    await slow.remove()
  }
})

test('SSH-03: fifty commands that reach their deadline at once are all ended', { skip }, async () => {
  const all = Array.from({ length: 50 }, () => start())
  const early: string[] = []
  const running = all.map((run) =>
    runCommand(run, { command: "trap '' TERM; echo begun; while :; do sleep 0.2; done" }).then(
      () => assert.fail('done'),
      (error: Failed) => {
        early.push(error.message)
        return error
      },
    ),
  )
  assert.ok(await until(() => all.every((run) => run.output.bytes('stdout').length > 0), 20_000), early.join('\n'))
  for (const run of all) run.expire()
  const errors = await Promise.all(running)
  const ends = errors.map((error) => error.details?.remote)
  assert.deepEqual(new Set(ends), new Set(['ended']), JSON.stringify(ends))
  const ids = new Set(all.map((run) => run.run_id))
  // Those that have ended them say that they do.
  const ending = new Set(carrying(KILL_REPORT))
  assert.deepEqual(
    carrying('MAHAVISHNU_RUN_ID').filter((pid) => !ending.has(pid) && ids.has(runIdOf(pid) ?? '')),
    [],
  )
})

test('SSH-03: a command that the host has forked and not begun yet is not called ended, and is ended', {
  skip,
}, async () => {
  const user = await makeUser({ shell: '/bin/sh' })
  const through = await startTcpProxy({ port: sshd.port })
  try {
    await mkdir(join(user.home, '.ssh'))
    // sshd runs it before the command, whose arguments nobody can see until then; only the command's own is slow.
    await writeFile(
      join(user.home, '.ssh/rc'),
      'if [ -e "$HOME/slow" ] && mkdir "$HOME/once" 2>/dev/null; then sleep 0.7; fi\n',
    )
    const alias = { host_key_alias: `[127.0.0.1]:${sshd.port}` }
    const target = targetOf(sshd, { port: through.port, user: user.name, ...alias })
    await runCommand(operationContext(worker, target), { command: 'true' })
    await writeFile(join(user.home, 'slow'), '')
    const run = operationContext(worker, target)
    runs.push(run.run_id)
    const running = runCommand(run, { command: 'sleep 300' })
    running.catch(() => undefined)
    assert.ok(await until(() => existsSync(join(user.home, 'once'))))
    run.expire()
    const error: Failed = await running.then(
      () => assert.fail('done'),
      (thrown: Failed) => thrown,
    )
    assert.equal(error.details.remote, 'ended')
    await delay(1_000)
    nothingLeft(run)
  } finally {
    await through.close()
    await user.remove()
  }
})

test('SSH-03: a deadline between sending the command and the answer of the host', { skip }, async () => {
  const slow = await startTcpProxy({ port: sshd.port })
  try {
    const warm = start({ through: slow })
    await runCommand(warm, { command: 'true' })
    slow.delay(60)
    for (const afterMs of [30, 90, 150, 210, 270]) {
      const run = start({ through: slow })
      const running = runCommand(run, { command: 'sleep 300' })
      running.catch(() => undefined)
      await delay(afterMs)
      run.expire()
      const error: Failed = await running.then(
        () => assert.fail('done'),
        (thrown: Failed) => thrown,
      )
      assert.equal(error.code, 'MHV_SSH_COMMAND_TIMEOUT')
      assert.equal(error.details.remote, 'ended', `${afterMs} ms`)
      nothingLeft(run, `${afterMs} ms`)
    }
    assert.ok(await until(() => worker.pool.stats().channels === 0), 'the late channels were closed')
  } finally {
    await slow.close()
  }
})

test('SSH-03: MaxSessions 1: the session is ended over a connection of its own', { skip }, async () => {
  const one = await startSshd({ maxSessions: 1 })
  try {
    const run = start({ on: one })
    const error = await expired(run, 'sleep 300', () => left(run).length > 0)
    assert.equal(error.details.remote, 'ended')
    nothingLeft(run)
  } finally {
    await one.stop()
  }
})

test('after a deadline the places of the connection are free again', { skip }, async () => {
  assert.ok(await until(() => worker.pool.stats().channels === 0), JSON.stringify(worker.pool.stats()))
  assert.equal((await runCommand(start(), { command: 'echo on' })).stdout, 'on\n')
})
