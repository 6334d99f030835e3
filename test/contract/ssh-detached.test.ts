import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { chmod, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { resumeDetached, runDetached } from '../../src/workers/ssh/detached/run-detached.ts'
import { carrying, endAll, noneCarries, until } from '../helpers/processes.ts'
import { memorySink, type TestRun } from '../helpers/ssh-context.ts'
import {
  type DetachedHost,
  type DetachedOptions,
  failureOf,
  filesOf,
  memoryState,
  settle,
  startDetachedHost,
} from '../helpers/ssh-detached.ts'
import type { SystemUser } from '../helpers/ssh-user.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

/** Detached commands against a real sshd, once for each login shell, without the runtime. */

const skip = sshdMissing()
const shellAt = (name: string) => {
  const { stdout, status } = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' })
  return status === 0 ? stdout.trim() : undefined
}

let host: DetachedHost
let sshd: Sshd
let plain: SystemUser
const contextFor: DetachedHost['contextFor'] = (...args) => host.contextFor(...args)

before(async () => {
  if (skip) return
  host = await startDetachedHost()
  sshd = host.sshd
  plain = await host.account('/bin/sh')
})
after(() => host?.close())

/** The host's side of every connection is gone. */
const cutAll = () => endAll(sshd.connections())

/** 3 MB on standard output and 1 MB on standard error, slowly enough to be cut in the middle. */
const SLOW = `i=0; while [ $i -lt 30 ]; do
  head -c 100000 /dev/zero | tr '\\0' "$(printf '\\\\1%02o' $((i + 1)))"
  echo "err $i" >&2
  head -c 33000 /dev/zero | tr '\\0' e >&2; i=$((i + 1)); sleep 0.1
done; exit 7`

const SHELLS = ['dash', 'bash', 'busybox', 'zsh', 'ksh', 'mksh', 'fish', 'tcsh'].map((name) => ({
  name,
  path: shellAt(name),
}))

for (const { name, path } of SHELLS) {
  const missing = skip ?? (path === undefined ? `${name} is not installed` : undefined)
  suite(`a detached command through ${name}`, { skip: missing }, () => {
    let user: SystemUser
    before(async () => {
      // Its name tells which applet it is to be.
      const links = join(sshd.folder, 'shells')
      await mkdir(links, { recursive: true })
      const ash = join(links, 'ash')
      if (name === 'busybox') await symlink(path as string, ash).catch(() => undefined)
      user = await host.account(name === 'busybox' ? ash : (path as string))
    })

    test('SSH-07: has the same result as an attached one, and leaves nothing on the host', async () => {
      const ctx = contextFor(user)
      const data = await runDetached(ctx, {
        command: 'cat; printf \'%s|%s|\' "$V" "$PWD"; echo err >&2; exit 3',
        stdin: 'in\nput',
        env: { V: "it's $HOME\n" },
        cwd: '/usr',
        detach: true,
      })
      const { stdout, stderr, exit_code, truncated, detached } = data
      assert.deepEqual(
        { stdout, stderr, exit_code, truncated, cut: detached?.cut },
        { stdout: "in\nputit's $HOME\n|/usr|", stderr: 'err\n', exit_code: 3, truncated: false, cut: false },
      )
      assert.deepEqual(filesOf(user), [ctx.run_id])
      await settle(ctx)
      assert.deepEqual(filesOf(user), [])
      assert.deepEqual(await ctx.state.list(''), [])
    })

    test('SSH-07: nothing is lost or comes twice when its connection is cut again and again', async () => {
      const sink = memorySink()
      const ctx = contextFor(user, { sink })
      const running = runDetached(ctx, { command: SLOW, detach: true })
      for (let cuts = 0; cuts < 6; cuts++) {
        await delay(400)
        await cutAll()
      }
      const { exit_code } = await running
      assert.equal(exit_code, 7)
      const rows = Array.from({ length: 30 }, (_, i) => i)
      const expected = Buffer.concat(rows.map((i) => Buffer.alloc(100_000, 0o100 + i + 1)))
      assert.equal(Buffer.compare(sink.bytes('stdout'), expected), 0)
      const errors = Buffer.concat(rows.flatMap((i) => [Buffer.from(`err ${i}\n`), Buffer.alloc(33_000, 'e')]))
      assert.equal(Buffer.compare(sink.bytes('stderr'), errors), 0)
      await settle(ctx)
      assert.deepEqual(filesOf(user), [])
    })

    test('its output comes while it runs', async () => {
      const sink = memorySink()
      const ctx = contextFor(user, { sink })
      const running = runDetached(ctx, { command: 'echo first; sleep 2; echo last', detach: true })
      assert.ok(await until(() => sink.bytes('stdout').toString() === 'first\n', 1_900))
      assert.equal((await running).stdout, 'first\nlast\n')
      await settle(ctx)
    })

    test('what it writes beyond the limit is dropped there, and it ends all the same', async () => {
      const ctx = contextFor(user, { settings: { detach_max_bytes: 64 * 1024 } })
      const command = 'head -c 3000000 /dev/zero; head -c 70000 /dev/zero >&2; echo $?'
      const data = await runDetached(ctx, { command, detach: true })
      assert.deepEqual([data.exit_code, data.truncated, data.detached], [0, true, { max_bytes: 65_536, cut: true }])
      assert.equal(data.stdout.length, 65_536)
      assert.ok(data.stdout_bytes > 2_500_000 && data.stdout_bytes <= 3_000_002, `${data.stdout_bytes}`)
      await settle(ctx)
    })

    test('a cancellation ends everything of it', async () => {
      const ctx = contextFor(user)
      const running = runDetached(ctx, {
        command: "trap '' TERM; echo on; sleep 300 & sleep 300; sleep 300",
        detach: true,
      })
      running.catch(() => undefined)
      assert.ok(await until(() => carrying(ctx.run_id).length > 1), 'it runs')
      await delay(300)
      ctx.cancel()
      const { code, details } = await failureOf(running)
      assert.deepEqual([code, details.remote], ['MHV_RUN_CANCELLED', 'ended'])
      noneCarries(ctx.run_id)
      await settle(ctx)
      assert.deepEqual(filesOf(user), [])
    })
  })
}

suite('a detached command in hard times', { skip }, () => {
  const folderOf = (ctx: TestRun, user = plain) => join(user.home, '.local/state/mahavishnu/detached', ctx.run_id)
  const start = (command: string, options: DetachedOptions = {}, more: object = {}) => {
    const ctx = contextFor(plain, options)
    const running = runDetached(ctx, { command, detach: true, ...more })
    running.catch(() => undefined)
    return { ctx, running }
  }
  const begun = async (ctx: TestRun) => {
    assert.ok(
      await until(
        () => filesOf(plain).includes(ctx.run_id) && readdirSync(folderOf(ctx)).some((name) => name.startsWith('pid.')),
      ),
      'it runs',
    )
    await delay(300)
  }

  test('SSH-07: a start that is sent again finds the first one, and the command runs once', async () => {
    const ledger = join(plain.home, 'ledger')
    const state = memoryState()
    const command = `echo once >>${ledger}; echo first; sleep 1; echo last`
    const { ctx, running } = start(command, { state })
    assert.ok(await until(() => existsSync(ledger)))
    // As a process left it that died before it heard that the command had been started.
    const [{ key, value }] = (await state.list('')) as [{ key: string; value: object }]
    await state.set(key, { ...value, directory: null })
    ctx.stop()
    await failureOf(running)
    const again = contextFor(plain, { state, runId: ctx.run_id })
    const data = await resumeDetached(again, { command, detach: true })
    assert.deepEqual([data.stdout, data.exit_code], ['first\nlast\n', 0])
    await settle(again)
    assert.equal(await readFile(ledger, 'utf8'), 'once\n')
    // A start that comes when all is over finds that, too.
    await state.set(key, { ...value, directory: null })
    const late = await failureOf(
      resumeDetached(contextFor(plain, { state, runId: ctx.run_id }), { command, detach: true }),
    )
    assert.equal(late.code, 'MHV_SSH_DETACH_LOST')
    assert.equal(await readFile(ledger, 'utf8'), 'once\n')
  })

  test('SSH-07: a start that is sent again while the first one is still at it waits for what that one does', async () => {
    const user = await host.account('/bin/sh')
    const ctx = contextFor(user)
    const folder = join(user.home, '.local/state/mahavishnu/detached', ctx.run_id)
    const theirs = (script: string) => spawnSync('sh', ['-c', `umask 077; ${script}`], { uid: user.uid }).status
    assert.equal(theirs(`mkdir -p ${folder}/claim`), 0)
    const note = { marker: 'mahavishnu-test', target: ctx.target.name, deadline: ctx.deadline, directory: null }
    await ctx.state.set(`detached/${ctx.run_id}`, note)
    const running = resumeDetached(ctx, { command: 'unused', detach: true })
    running.catch(() => undefined)
    await delay(700)
    const made = ['echo 7 x >facts', 'echo out >stdout', 'echo mahavishnu-test 7 >stderr', ': >exit.4']
    assert.equal(theirs(`cd ${folder} && ${made.join(' && ')}`), 0)
    const { stdout, exit_code } = await running
    assert.deepEqual([stdout, exit_code], ['out\n', 4])
    await settle(ctx)
  })

  test('many starts at once run the command once', async () => {
    const ledger = join(plain.home, 'many')
    const state = memoryState()
    const { ctx, running } = start(`echo x >>${ledger}; sleep 0.5`, { state })
    const others = Array.from({ length: 5 }, () =>
      runDetached(contextFor(plain, { runId: ctx.run_id }), { command: `echo x >>${ledger}; sleep 0.5`, detach: true }),
    )
    const codes = (await Promise.allSettled([running, ...others])).map(({ status }) => status)
    assert.ok(codes.includes('fulfilled'), codes.join())
    assert.equal(await readFile(ledger, 'utf8'), 'x\n')
  })

  test('kill -9 of what keeps its exit code: unknown, with what is known', async () => {
    const { ctx, running } = start('echo out; sleep 300')
    await begun(ctx)
    const pid = Number(
      readdirSync(folderOf(ctx))
        .find((name) => name.startsWith('pid.'))
        ?.slice(4),
    )
    process.kill(pid, 'SIGKILL')
    const { code, message, details } = await failureOf(running)
    assert.equal(code, 'MHV_SSH_DETACH_LOST')
    assert.match(message, /the shell that kept its exit code was ended there; how the command ended is unknown/)
    assert.equal(details.directory, folderOf(ctx))
    assert.equal((await ctx.output.collect('stdout')).text, 'out\n')
  })

  test('a host that was started anew meanwhile: unknown, and it says so', async () => {
    const { ctx, running } = start('echo out; sleep 300')
    await begun(ctx)
    const facts = join(folderOf(ctx), 'facts')
    await writeFile(facts, `${(await readFile(facts, 'utf8')).split(' ')[0]} another-boot\n`)
    const { code, message, details } = await failureOf(running)
    assert.deepEqual([code, details.rebooted], ['MHV_SSH_DETACH_LOST', true])
    assert.match(message, /started anew/)
  })

  test('files that somebody removed there: unknown, no success', async () => {
    const { ctx, running } = start('echo out; sleep 300')
    await begun(ctx)
    await rm(folderOf(ctx), { recursive: true })
    assert.equal((await failureOf(running)).code, 'MHV_SSH_DETACH_LOST')
  })

  test('a child that holds the output open: at the deadline the exit code is told', async () => {
    const { ctx, running } = start('sleep 300 & echo out; exit 4')
    await begun(ctx)
    ctx.expire()
    const { code, message, details } = await failureOf(running)
    assert.deepEqual([code, details.exit_code, details.remote], ['MHV_SSH_COMMAND_TIMEOUT', 4, 'ended'])
    assert.match(message, /ended with exit code 4, but what it left behind held its output open/)
    noneCarries(ctx.run_id)
  })

  test('a command that closes its output, and one that a signal ends', async () => {
    const closing = await start('echo out; exec >&- 2>&-; sleep 0.3; exit 5').running
    assert.deepEqual([closing.stdout, closing.exit_code], ['out\n', 5])
    const killed = await start('echo out; kill -KILL $$').running
    assert.deepEqual([killed.stdout, killed.exit_code, killed.signal], ['out\n', 137, null])
  })

  test('when Mahavishnu stops, it goes on; the next process has its whole output', async () => {
    const state = memoryState()
    const command = 'echo first; sleep 1.5; echo last'
    const { ctx, running } = start(command, { state })
    await begun(ctx)
    ctx.stop()
    assert.equal((await failureOf(running)).code, 'MHV_SHUTTING_DOWN')
    assert.ok(carrying(ctx.run_id).length > 0, 'it goes on')
    const again = contextFor(plain, { state, runId: ctx.run_id })
    assert.equal((await resumeDetached(again, { command, detach: true })).stdout, 'first\nlast\n')
  })

  test('what a process left behind that never came back is ended by the next detached command there', async () => {
    const state = memoryState()
    const { ctx, running } = start('sleep 300', { state })
    await begun(ctx)
    ctx.stop()
    await failureOf(running)
    const [{ key, value }] = (await state.list('')) as [{ key: string; value: object }]
    await state.set(key, { ...value, deadline: Date.now() - 120_000 })
    const next = contextFor(plain, { state })
    await runDetached(next, { command: 'true', detach: true })
    await settle(next)
    noneCarries(ctx.run_id)
    assert.equal(existsSync(folderOf(ctx)), false)
    assert.deepEqual(await state.list(''), [])
  })

  test('it is refused before anything is sent: sudo with a password', async () => {
    const { ctx, running } = start('true', {}, { sudo: { user: 'root', password: 'env:PASSWORD' } })
    const { code, message } = await failureOf(running)
    assert.equal(code, 'MHV_INPUT_INVALID')
    assert.match(message, /sudo cannot be given a password/)
    assert.deepEqual(await ctx.state.list(''), [])
  })

  test('a folder that is not there, and a variable that cannot be set, stop it before it starts', async () => {
    const cwd = start('touch never', {}, { cwd: '/none' })
    assert.equal((await failureOf(cwd.running)).code, 'MHV_SSH_CWD_FAILED')
    await settle(cwd.ctx)
    assert.equal(existsSync(folderOf(cwd.ctx)), false)
  })

  test('SSH-07: cancelled while its start is on its way: it never runs, however late the start comes', async () => {
    const folder = join(sshd.folder, 'late')
    await mkdir(folder)
    await chmod(folder, 0o777)
    // A host so slow that the start has come whole, and its shell has not begun.
    await writeFile(
      join(folder, 'gate'),
      `#!/bin/sh
case $SSH_ORIGINAL_COMMAND in
  *'supervise()'*)
    cat >${folder}/in
    : >${folder}/here
    while [ ! -e ${folder}/go ]; do sleep 0.05; done
    /bin/sh -c "$SSH_ORIGINAL_COMMAND" <${folder}/in >${folder}/said 2>&1
    : >${folder}/gone;;
  *) exec /bin/sh -c "$SSH_ORIGINAL_COMMAND";;
esac
`,
      { mode: 0o755 },
    )
    const config = [`AuthorizedKeysFile ${sshd.folder}/authorized_keys`, `ForceCommand ${folder}/gate`]
    const slow = await startSshd({ config })
    try {
      const ctx = contextFor(plain, {}, { ...slow, userKey: sshd.userKey })
      const running = failureOf(runDetached(ctx, { command: `touch ${folder}/ran`, detach: true }))
      assert.ok(await until(() => existsSync(join(folder, 'here'))))
      ctx.cancel()
      assert.equal((await running).code, 'MHV_RUN_CANCELLED_QUEUED')
      await settle(ctx)
      await writeFile(join(folder, 'go'), '')
      assert.ok(await until(() => existsSync(join(folder, 'gone'))))
      assert.match(await readFile(join(folder, 'said'), 'utf8'), / found /)
      assert.equal(existsSync(join(folder, 'ran')), false)
    } finally {
      await slow.stop()
    }
  })

  test('cancelled before the host was reached: nothing ran, and that is known', async () => {
    const closed = await startSshd()
    await closed.stop(true)
    const ctx = contextFor(plain, { timeoutMs: 500 }, closed)
    const { code } = await failureOf(runDetached(ctx, { command: 'true', detach: true }))
    assert.ok(['MHV_SSH_CONNECT_REFUSED', 'MHV_SSH_CONNECT_TIMEOUT', 'MHV_RUN_QUEUE_TIMEOUT'].includes(code), code)
    await rm(closed.folder, { recursive: true, force: true })
  })

  test('through the only session that a host allows (MaxSessions 1), beside attached ones', async () => {
    const narrow = await startSshd({ maxSessions: 1, config: [`AuthorizedKeysFile ${sshd.folder}/authorized_keys`] })
    try {
      const known = { ...narrow, userKey: sshd.userKey }
      const ctxs = [1, 2, 3].map(() => contextFor(plain, {}, known))
      const command = 'echo on; sleep 0.5; echo off'
      const all = await Promise.all(ctxs.map((ctx) => runDetached(ctx, { command, detach: true })))
      assert.deepEqual(
        all.map(({ stdout }) => stdout),
        ['on\noff\n', 'on\noff\n', 'on\noff\n'],
      )
    } finally {
      await narrow.stop()
    }
  })
})
