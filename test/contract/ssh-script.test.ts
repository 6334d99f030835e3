import assert from 'node:assert/strict'
import { existsSync, readdirSync } from 'node:fs'
import { chmod, mkdir, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { runScriptFile } from '../../src/workers/ssh/script/run-script-file.ts'
import { type ScriptInput, script } from '../../src/workers/ssh/script/script.ts'
import { fillDisk, noSmallDisk, smallDisk } from '../helpers/disk.ts'
import { carrying, endAll, endRuns, until } from '../helpers/processes.ts'
import { operationContext, startWorker, type TestWorker, targetOf } from '../helpers/ssh-context.ts'
import { HOSTILE } from '../helpers/ssh-hostile-values.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

/** `ssh.script` against a real sshd. */

const skip = sshdMissing()
let sshd: Sshd
let worker: TestWorker
let tmp: string
const runs: string[] = []

before(async () => {
  if (skip) return
  sshd = await startSshd()
  tmp = join(sshd.folder, 'tmp')
  await mkdir(tmp)
  await sshd.stop(true)
  sshd = await startSshd({ folder: sshd.folder, config: [`SetEnv TMPDIR=${tmp} SHLVL=3`] })
  worker = await startWorker({ settings: { kill_grace: 0.3 } })
})
after(async () => {
  if (skip) return
  await worker.close()
  await endRuns(runs)
  await sshd.stop()
})

function start(input: Partial<ScriptInput>, server = sshd) {
  const ctx = operationContext(worker, targetOf(server))
  runs.push(ctx.run_id)
  const running = runScriptFile(ctx, script.input.parse(input) as ScriptInput)
  running.catch(() => undefined)
  return { ctx, running }
}
const run = (input: Partial<ScriptInput>) => start(input).running

for (const via of ['file', 'stdin'] as const) {
  suite(`a script by ${via}`, { skip }, () => {
    test('SSH-04: its arguments arrive one by one, byte for byte', async () => {
      const { stdout } = await run({ via, script: `printf '%s\\0' "$@"`, args: [...HOSTILE] })
      assert.equal(stdout, HOSTILE.map((value) => `${value}\0`).join(''))
    })

    test('exit code, both streams, variables and working directory', async () => {
      const input = { script: 'echo "$V"; pwd; echo err >&2; exit 7', env: { V: "it's" }, cwd: '/usr' }
      const { stdout, stderr, exit_code } = await run({ via, ...input })
      assert.deepEqual([stdout, stderr, exit_code], ["it's\n/usr\n", 'err\n', 7])
    })

    test('another interpreter, with options of its own', async () => {
      const { stdout } = await run({
        via,
        script: 'print join("|", $^W, @ARGV)',
        interpreter: ['perl', '-w'],
        args: ['-x', ''],
      })
      assert.equal(stdout, '1|-x|')
      assert.equal((await run({ via, script: 'x', interpreter: ['none-such'] })).exit_code, 127)
    })

    test('a large script', async () => {
      const { stdout } = await run({ via, script: `: ${'x'.repeat(200_000)}\necho "$#"`, args: ['a', 'b'] })
      assert.equal(stdout, '2\n')
    })

    test('as another user, by sudo', async () => {
      const { stdout } = await run({ via, script: 'id -un; echo "$1"', args: ['a b'], sudo: { user: 'nobody' } })
      assert.equal(stdout, 'nobody\na b\n')
    })

    test('nothing of it is left', () => assert.deepEqual(readdirSync(tmp), []))
  })
}

suite('a script in a file', { skip }, () => {
  test('has a standard input of its own, and a private folder', async () => {
    const { stdout } = await run({ script: 'ls -ld "$0" "${0%/*}" | cut -c1-10; cat', stdin: 'in\nput' })
    assert.equal(stdout, 'drwx------\n-rw-------\nin\nput')
    assert.equal((await run({ script: 'wc -c' })).stdout.trim(), '0')
  })

  test('is removed after a cancellation, also where it had to be killed', async () => {
    for (const text of ['sleep 300', "trap '' TERM; while :; do sleep 1; done"]) {
      const { ctx, running } = start({ script: text })
      assert.ok(await until(() => readdirSync(tmp).length > 0 && carrying(ctx.run_id).length > 1))
      await delay(200)
      ctx.cancel()
      await assert.rejects(running, { code: 'MHV_RUN_CANCELLED' })
      assert.deepEqual([readdirSync(tmp), carrying(ctx.run_id)], [[], []], text)
    }
  })

  test('is removed after the connection was lost, when it has ended', async () => {
    const { running } = start({ script: 'sleep 1' })
    assert.ok(await until(() => readdirSync(tmp).length > 0))
    await delay(200)
    await endAll(sshd.connections())
    await assert.rejects(running, { code: 'MHV_SSH_CONNECTION_LOST' })
    assert.ok(await until(() => readdirSync(tmp).length === 0))
  })

  test('comes from a file within the local roots, and from nowhere else', async () => {
    const files = join(worker.folder, 'files')
    await mkdir(files)
    await writeFile(join(files, 'hello.sh'), 'echo hello "$1"\n')
    assert.equal((await run({ path: 'hello.sh', args: ['you'] })).stdout, 'hello you\n')
    await assert.rejects(run({ path: '/etc/passwd' }), { code: 'MHV_LOCAL_OUTSIDE_ROOTS' })
    await symlink('/etc/passwd', join(files, 'link'))
    await assert.rejects(run({ path: 'link' }), (error: Error & { code: string }) => /^MHV_LOCAL_/.test(error.code))
    await assert.rejects(run({ path: 'none' }), { code: 'MHV_LOCAL_NOT_FOUND' })
  })

  test('what cannot be is refused before anything is sent', async () => {
    for (const bad of [{}, { script: 'x', path: 'y' }, { script: 'x', via: 'stdin' as const, stdin: 'y' }]) {
      await assert.rejects(run(bad), { code: 'MHV_INPUT_INVALID' })
    }
    assert.equal(script.input.safeParse({ script: 'x', interpreter: ['-x'] }).success, false)
    assert.equal(script.input.safeParse({ script: 'x', interpreter: [] }).success, false)
  })
})

suite('a script on a full disk', { skip: skip ?? noSmallDisk }, () => {
  test('is not run, and it says so', async () => {
    await using disk = await smallDisk(1)
    await chmod(disk.folder, 0o777)
    const own = await startSshd({ config: [`SetEnv TMPDIR=${disk.folder} SHLVL=3`] })
    try {
      await fillDisk(disk.folder, 0)
      const { running } = start({ script: `touch ${sshd.folder}/never` }, own)
      await assert.rejects(running, { code: 'MHV_SSH_SCRIPT_NOT_PLACED' })
      assert.equal(existsSync(join(sshd.folder, 'never')), false)
      await rm(join(disk.folder, 'filler'))
    } finally {
      await own.stop()
    }
  })
})
