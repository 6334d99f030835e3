import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { ExecuteInput } from '../../src/workers/ssh/execute.ts'
import { runCommand } from '../../src/workers/ssh/run-command.ts'
import { carrying, endAll, endRuns, noneCarries, until } from '../helpers/processes.ts'
import {
  memorySink,
  operationContext,
  startWorker,
  type TestRun,
  type TestWorker,
  targetOf,
} from '../helpers/ssh-context.ts'
import { HOSTILE } from '../helpers/ssh-hostile-values.ts'
import { makeUser, type SystemUser } from '../helpers/ssh-user.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

/** Accounts with other login shells than bash, and those with none. */

const skip = sshdMissing()
const shellAt = (name: string) => {
  const { stdout, status } = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' })
  return status === 0 ? stdout.trim() : undefined
}
const SHELLS = ['dash', 'fish', 'tcsh', 'zsh', 'ksh', 'mksh'].map((name) => ({ name, path: shellAt(name) }))

let sshd: Sshd
let worker: TestWorker
const users: SystemUser[] = []
const runs: string[] = []

before(async () => {
  if (skip) return
  sshd = await startSshd()
  worker = await startWorker({ settings: { kill_grace: 0.3 } })
})
after(async () => {
  if (skip) return
  await worker.close()
  await endRuns(runs)
  await sshd.stop()
  for (const user of users) await user.remove()
})

async function account(shell: string): Promise<(options?: object) => TestRun> {
  const user = await makeUser({ shell })
  users.push(user)
  return (options = {}) => {
    const run = operationContext(worker, targetOf(sshd, { user: user.name }), options)
    runs.push(run.run_id)
    return run
  }
}

for (const { name, path } of SHELLS) {
  const missing = skip ?? (path === undefined ? `${name} is not installed` : undefined)

  test(`SSH-04: through ${name}, hostile values arrive byte-identical, and everything else works too`, {
    skip: missing,
  }, async () => {
    const start = await account(path as string)
    const execute = (input: ExecuteInput, options = {}) => runCommand(start(options), input)

    const names = HOSTILE.map((_, index) => `V${index}`)
    const env = Object.fromEntries(names.map((variable, index) => [variable, HOSTILE[index] ?? '']))
    const sink = memorySink()
    const stdin = `${HOSTILE.join('\0')}\0`
    const command = `printf '%s\\0' ${names.map((variable) => `"$${variable}"`).join(' ')}; cat`
    await execute({ command, env, stdin }, { sink })
    assert.deepEqual(sink.bytes('stdout').toString(), stdin + stdin)

    const { stdout, stderr, exit_code } = await execute({
      command: "for n in 1 2; do echo $n; done; echo 'a!b' >&2; exit 3",
    })
    assert.deepEqual({ stdout, stderr, exit_code }, { stdout: '1\n2\n', stderr: 'a!b\n', exit_code: 3 })
    assert.equal((await execute({ command: 'kill -KILL $$' })).signal, 'KILL')
    assert.equal((await execute({ command: 'pwd', cwd: '/usr' })).stdout, '/usr\n')
    assert.equal(
      (await execute({ command: `echo ${'x'.repeat(60_000)} | wc -c; cat`, stdin: 'own' })).stdout,
      '60001\nown',
    )
    await assert.rejects(execute({ command: 'true', cwd: '/none' }), { code: 'MHV_SSH_CWD_FAILED' })

    const run = start()
    const running = runCommand(run, { command: "trap '' TERM; sleep 300; sleep 300" })
    running.catch(() => undefined)
    assert.ok(await until(() => carrying(run.run_id).length > 0))
    await delay(100)
    run.expire()
    await assert.rejects(running, (error: Error & { code?: string; details?: { remote?: string } }) => {
      assert.deepEqual([error.code, error.details?.remote], ['MHV_SSH_COMMAND_TIMEOUT', 'ended'])
      return true
    })
    noneCarries(run.run_id)
  })
}

test('an account that runs nothing or too little: nologin, false, a program that is no shell, rbash', {
  skip,
}, async () => {
  for (const shell of ['/usr/sbin/nologin', '/bin/false', '/bin/cat', '/bin/rbash']) {
    const start = await account(shell)
    await assert.rejects(runCommand(start(), { command: 'true' }), { code: 'MHV_SSH_SHELL_UNSUPPORTED' }, shell)
  }
  const start = await account('/usr/sbin/nologin')
  await assert.rejects(runCommand(start(), { command: 'true' }), /it says: This account is currently not available/)
})

test('a key with a forced command runs something else, so it is refused', { skip }, async () => {
  const own = await startSshd()
  try {
    const authorized = join(own.folder, 'authorized_keys')
    await writeFile(authorized, `command="echo forced" ${await readFile(authorized, 'utf8')}`)
    await assert.rejects(
      runCommand(operationContext(worker, targetOf(own)), { command: 'true' }),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, 'MHV_SSH_SHELL_UNSUPPORTED')
        assert.match(error.message, /it says: forced/)
        return true
      },
    )
  } finally {
    await own.stop()
  }
})

test('a command forced upon the key later is not taken for ours: its effect is unknown', { skip }, async () => {
  const own = await startSshd()
  try {
    const run = () => runCommand(operationContext(worker, targetOf(own)), { command: 'echo ours' })
    assert.equal((await run()).stdout, 'ours\n')
    const authorized = join(own.folder, 'authorized_keys')
    const keys = await readFile(authorized, 'utf8')
    await writeFile(authorized, `command="echo forced; echo why >&2" ${keys}`)
    await endAll(own.connections())
    await delay(50)
    await assert.rejects(run(), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'MHV_SSH_COMMAND_UNCONFIRMED')
      assert.match(error.message, /it says: why/)
      return true
    })
    await writeFile(authorized, keys)
    await endAll(own.connections())
    await delay(50)
    assert.equal((await run()).stdout, 'ours\n')
  } finally {
    await own.stop()
  }
})

test('a profile that talks on both streams is no part of what is reported', { skip }, async () => {
  const own = await startSshd({ config: ['SetEnv SHLVL=0', `AuthorizedKeysFile ${sshd.folder}/authorized_keys`] })
  try {
    const user = await makeUser({ shell: '/bin/bash' })
    users.push(user)
    // In place of Debian's, which ends at once where there is no terminal.
    await writeFile(join(user.home, '.bashrc'), 'echo Welcome; printf "no line break" >&2; export FROM_PROFILE=yes\n')
    const target = targetOf(own, { user: user.name, identity_files: [sshd.userKey] })
    const data = await runCommand(operationContext(worker, target), { command: 'echo $FROM_PROFILE; echo mine >&2' })
    assert.equal(data.stdout, 'Welcome\nyes\n')
    assert.equal(data.stderr, 'no line breakmine\n')
    assert.ok(data.pid > 1)
  } finally {
    await own.stop()
  }
})

test('a process of another user in the session cannot be ended, and is named', { skip }, async () => {
  const user = await makeUser({ shell: '/bin/sh' })
  users.push(user)
  // A program that anyone may start and that becomes root altogether, as sudo does.
  const become = join(user.home, 'become')
  spawnSync('sh', ['-c', `cp "$(command -v setpriv)" ${become} && chown root ${become} && chmod 4755 ${become}`])
  const run = operationContext(worker, targetOf(sshd, { user: user.name }))
  const running = runCommand(run, { command: `${become} --reuid=0 --regid=0 --clear-groups sleep 3456; true` })
  running.catch(() => undefined)
  const sleeper = () => spawnSync('pgrep', ['-f', '^sleep 3456'], { encoding: 'utf8' }).stdout.trim()
  assert.ok(await until(() => sleeper() !== ''))
  await delay(50)
  run.expire()
  const error = await running.then(
    () => assert.fail('done'),
    (thrown: Error & { details: Record<string, unknown> }) => thrown,
  )
  const pid = Number(sleeper())
  assert.equal(error.details.remote, 'left')
  assert.deepEqual(error.details.still_running, [{ pid, command: 'sleep' }])
  assert.match(error.message, /could not be ended: there still run/)
  await endAll([pid])
})
