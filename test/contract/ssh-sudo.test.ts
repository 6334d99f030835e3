import assert from 'node:assert/strict'
import { existsSync, rmSync } from 'node:fs'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { createInstances, production } from '../../src/app.ts'
import type { MhvError } from '../../src/core/errors.ts'
import type { ExecuteData } from '../../src/workers/ssh/execute.ts'
import { endSession } from '../../src/workers/ssh/remote-kill.ts'
import { judgeEnd, runCommand } from '../../src/workers/ssh/run-command.ts'
import { type SudoInput, sudoInput } from '../../src/workers/ssh/sudo.ts'
import { isRunning, sessionOf, until } from '../helpers/processes.ts'
import { operationContext, startWorker, type TestWorker, targetOf } from '../helpers/ssh-context.ts'
import { sshInstance } from '../helpers/ssh-instance.ts'
import { makeUser, type SystemUser, userMissing } from '../helpers/ssh-user.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

/** `ssh.execute` with sudo, against OpenSSH's sshd and the real sudo. */

const SUDO = '/usr/bin/sudo'
const skip = sshdMissing() ?? userMissing() ?? (existsSync(SUDO) ? false : 'sudo is not installed')
const PASSWORD = `pass word '"$(id) ${Math.random().toString(36)}`
const secrets = { PASSWORD, WRONG: 'not-the-password', TWO_LINES: 'first\nsecond' }

let sshd: Sshd
let worker: TestWorker
/** Must give a password; needs none; may not at all; may only be another user. */
let asked: SystemUser
let trusted: SystemUser
let refused: SystemUser
let partly: SystemUser
const rules: string[] = []
process.on('exit', () => {
  for (const file of rules) rmSync(file, { force: true })
})

async function allow(user: SystemUser, rule: string): Promise<void> {
  const file = `/etc/sudoers.d/${user.name}`
  rules.push(file)
  await writeFile(file, `${user.name} ${rule}\n`, { mode: 0o440 })
}

before(async () => {
  if (skip) return
  ;[sshd, worker] = await Promise.all([startSshd(), startWorker({ secrets, settings: { kill_grace: 1 } })])
  asked = await makeUser({ password: PASSWORD })
  trusted = await makeUser({ shell: '/bin/bash' })
  refused = await makeUser({ password: PASSWORD })
  partly = await makeUser({ password: PASSWORD })
  await allow(asked, 'ALL=(ALL) ALL')
  await allow(trusted, 'ALL=(ALL) NOPASSWD: ALL')
  await allow(partly, `ALL=(${trusted.name}) NOPASSWD: ALL`)
})
after(async () => {
  if (skip) return
  await worker.close()
  await sshd.stop()
  await Promise.all(rules.map((file) => rm(file, { force: true })))
  for (const user of [asked, trusted, refused, partly]) await user.remove()
})

type Options = Parameters<typeof operationContext>[2]
type Sudo = Partial<SudoInput>
const contextFor = (user: SystemUser, options?: Options) =>
  operationContext(worker, targetOf(sshd, { user: user.name }), options)

function execute(
  user: SystemUser,
  command: string,
  sudo: Sudo,
  more: { stdin?: string; env?: Record<string, string>; cwd?: string } = {},
  options?: Options,
): Promise<ExecuteData> {
  return runCommand(contextFor(user, options), { command, sudo: sudoInput.parse(sudo), ...more })
}

const withPassword: Sudo = { password: 'env:PASSWORD' }

async function failure(running: Promise<unknown>): Promise<MhvError> {
  return running.then(
    (data) => assert.fail(`it ran: ${JSON.stringify(data).slice(0, 500)}`),
    (error: MhvError) => error,
  )
}

describe('sudo', { skip }, () => {
  test('runs the command as root, with the password or where none is needed', async () => {
    for (const [user, sudo] of [
      [asked, withPassword],
      [trusted, {}],
      [trusted, withPassword],
    ] as const) {
      const data = await execute(user, 'id -u; echo err >&2; exit 3', sudo)
      assert.deepEqual([data.stdout, data.stderr, data.exit_code], ['0\n', 'err\n', 3])
    }
  })

  test('or as another user, with its variables, its folder, and the id of the run', async () => {
    const ctx = contextFor(partly)
    const data = await runCommand(ctx, {
      command: 'id -un; pwd; echo "$A"; echo "$MAHAVISHNU_RUN_ID"',
      env: { A: "it's\n$(x)" },
      cwd: '/usr/bin',
      sudo: sudoInput.parse({ user: trusted.name }),
    })
    assert.equal(data.stdout, `${trusted.name}\n/usr/bin\nit's\n$(x)\n${ctx.run_id}\n`)
  })

  test('leaves standard input to the command, whole and alone', async () => {
    const stdin = `a\0b ${'ü'.repeat(100_000)}\n`
    const data = await execute(asked, 'cat', withPassword, { stdin })
    assert.ok(data.stdout === stdin)
    assert.equal((await execute(asked, 'cat', withPassword)).stdout, '')
    assert.equal((await execute(trusted, 'cat', withPassword, { stdin: 'x' })).stdout, 'x')
    assert.equal((await execute(trusted, 'cat', {}, { stdin: 'x' })).stdout, 'x')
  })

  test('takes a script that is too long for a line', async () => {
    const long = `: ${"it's ".repeat(20_000)}\nid -u; cat`.replaceAll("'", "\\'")
    for (const [user, sudo] of [
      [asked, withPassword],
      [trusted, {}],
    ] as const) {
      assert.equal((await execute(user, long, sudo, { stdin: 'then this' })).stdout, '0\nthen this')
    }
  })

  test('tells how a command ended by a signal, and what a login shell of another kind runs', async () => {
    assert.equal((await execute(asked, 'kill -KILL $$', withPassword)).signal, 'KILL')
    if (!existsSync('/usr/bin/fish')) return
    const fish = await makeUser({ shell: '/usr/bin/fish', password: PASSWORD })
    await allow(fish, 'ALL=(ALL) ALL')
    const { stdout } = await execute(fish, 'echo "$((1 + 1))"; cat', withPassword, { stdin: "it's" })
    assert.equal(stdout, "2\nit's")
    await fish.remove()
  })
})

describe('sudo that refuses', { skip }, () => {
  test('a wrong password is tried once, and nothing is run', async () => {
    const mark = `/tmp/${asked.name}-never`
    const error = await failure(execute(asked, `touch ${mark}`, { password: 'env:WRONG' }, { stdin: PASSWORD }))
    assert.equal(error.code, 'MHV_SSH_SUDO_FAILED')
    assert.equal(error.spec.phase, 'before-effect')
    assert.match(error.message, /did not take the password.*(Sorry|incorrect|1 incorrect)/)
    assert.equal(existsSync(mark), false)
  })

  test('a password that is missing, cannot be read, or is none', async () => {
    assert.match((await failure(execute(asked, 'id', {}))).message, /MHV|password is required/)
    assert.equal((await failure(execute(asked, 'id', { password: 'env:NOT_SET' }))).code, 'MHV_SECRET_UNRESOLVED')
    assert.equal((await failure(execute(asked, 'id', { password: 'env:TWO_LINES' }))).code, 'MHV_SECRET_UNRESOLVED')
  })

  test('a user who may not, not at all or not as that user', async () => {
    for (const [user, sudo] of [
      [refused, withPassword],
      [partly, withPassword],
    ] as const) {
      const error = await failure(execute(user, 'id', sudo))
      assert.equal(error.code, 'MHV_SSH_SUDO_FAILED')
      assert.match(error.message, /not allowed|not in the sudoers|may not run/)
    }
  })

  test('no sudo on the host', async () => {
    // PATH of the account has none; the host of the tests has one.
    const error = await failure(
      runCommand(contextFor(refused), { command: 'id', sudo: sudoInput.parse({ user: 'no-such-user-here' }) }),
    )
    assert.equal(error.code, 'MHV_SSH_SUDO_FAILED')
    const bare = await makeUser({ shell: '/bin/bash' })
    await writeFile(`${bare.home}/.bashrc`, 'PATH=/nowhere\n', { mode: 0o644 })
    const own = await startSshd({ config: ['SetEnv PATH=/nowhere SHLVL=0'] })
    try {
      const there = operationContext(worker, targetOf(own, { user: bare.name }))
      const missing = await failure(runCommand(there, { command: 'id', sudo: sudoInput.parse({}) }))
      assert.equal(missing.code, 'MHV_SSH_SUDO_MISSING')
    } finally {
      await own.stop()
      await bare.remove()
    }
  })

  test('a folder that cannot be entered stops the command', async () => {
    assert.equal((await failure(execute(asked, 'id', withPassword, { cwd: '/no/such' }))).code, 'MHV_SSH_CWD_FAILED')
  })

  test('names that are none are refused by the schema', () => {
    for (const user of ['-u', '', 'a b', 'a;b', '#x', '$(id)'])
      assert.equal(sudoInput.safeParse({ user }).success, false)
    assert.equal(sudoInput.safeParse({ password: 'the password itself' }).success, false)
  })
})

/** Pieces of the processes' arguments and environments in which the password stands. */
async function processesWith(text: string): Promise<string[]> {
  const found: string[] = []
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue
    for (const what of ['cmdline', 'environ']) {
      const bytes = await readFile(`/proc/${pid}/${what}`).catch(() => Buffer.alloc(0))
      if (bytes.includes(text)) found.push(`${what} of ${pid}`)
    }
  }
  return found
}

test('CORE-04: the password of sudo is in no argument, environment, output or error', { skip }, async () => {
  const seen = async (text: string, command: string) => {
    const found: string[] = []
    let over = false
    const running = execute(asked, command, withPassword, { stdin: 'own input' }).finally(() => {
      over = true
    })
    while (!over) found.push(...(await processesWith(text)))
    const { stdout, stderr } = await running
    assert.deepEqual([stdout, stderr], ['own input', ''])
    return found
  }
  assert.deepEqual(await seen(PASSWORD, 'sleep 0.6; cat'), [])
  // Negative control: what does stand in an argument is found.
  assert.notDeepEqual(await seen('canary-5c1d', ': canary-5c1d; sleep 0.6; cat'), [])
})

describe('the deadline', { skip }, () => {
  const stubborn = `sh -c 'trap "" TERM; sleep 300; sleep 300' & echo $!; sleep 301`
  test('SSH-03: ends processes that belong to another user', async () => {
    for (const [user, sudo] of [
      [asked, withPassword],
      [trusted, {}],
    ] as const) {
      const ctx = contextFor(user)
      const running = failure(runCommand(ctx, { command: stubborn, sudo: sudoInput.parse(sudo) }))
      assert.ok(await until(() => /^\d+\n/.test(ctx.output.bytes('stdout').toString())))
      const pid = Number(ctx.output.bytes('stdout').toString())
      assert.ok(isRunning(pid))
      ctx.expire()
      const error = await running
      assert.equal(error.code, 'MHV_SSH_COMMAND_TIMEOUT')
      assert.equal(error.details?.remote, 'ended', error.message)
      assert.ok(await until(() => !isRunning(pid)))
    }
  })

  test('SSH-03: where sudo does not help, what is left is told', async () => {
    const ctx = contextFor(asked)
    const parts = { judge: judgeEnd, endSession }
    const running = failure(runCommand(ctx, { command: stubborn, sudo: sudoInput.parse(withPassword) }, parts))
    assert.ok(await until(() => /^\d+\n/.test(ctx.output.bytes('stdout').toString())))
    const pid = Number(ctx.output.bytes('stdout').toString())
    ctx.cancel()
    const error = await running
    assert.equal(error.details?.remote, 'left')
    assert.match(error.message, /could not be ended/)
    assert.ok(isRunning(pid))
    process.kill(pid, 'SIGKILL')
    const leftOver = (error.details?.still_running ?? []) as { pid: number }[]
    for (const { pid: left } of leftOver) {
      if (isRunning(left)) process.kill(left, 'SIGKILL')
    }
  })

  test('while sudo waits for a password that does not come, nothing is left behind', async () => {
    const ctx = contextFor(asked)
    const never = Promise.withResolvers<never>()
    const slow = { ...ctx, secrets: { resolve: () => never.promise } }
    const running = failure(runCommand(slow, { command: 'id', sudo: sudoInput.parse(withPassword) }))
    await delay(500)
    ctx.expire()
    const error = await running
    assert.equal(error.code, 'MHV_SSH_COMMAND_TIMEOUT')
    assert.equal(error.details?.remote, 'ended', error.message)
    assert.deepEqual(sessionOf(Number(error.details?.pid)), [])
  })
})

test('run_output shows what a command has written while it runs', { skip }, async () => {
  const folder = await sshInstance(sshd, { target: { user: trusted.name } })
  const instance = await createInstances({ ...production(), env: {} }).open({ folder, doing: 'test' })
  try {
    const { principal } = instance
    const call = { operation: 'ssh.execute', principal, surface: 'embedded' }
    for (const sudo of [undefined, {}]) {
      const input = { command: 'echo first; sleep 2; echo second', ...(sudo === undefined ? {} : { sudo }) }
      const handle = await instance.invoke({ ...call, input, envelope: { target: 'box', wait: 0 } })
      const read = async () => {
        const page = await instance.control({ name: 'run_output', input: { run_id: handle.run_id }, principal })
        return (page.chunks as { text: string }[]).map(({ text }) => text).join('')
      }
      assert.ok(await until(async () => (await read()) === 'first\n', 1_900))
      const { run } = await instance.control({ name: 'run_wait', input: { run_id: handle.run_id }, principal })
      assert.equal((run as { output: string }).output, 'first\nsecond\n')
    }
  } finally {
    await instance.close()
    await rm(folder, { recursive: true, force: true })
  }
})
