import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { chmod, chown, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { runDetached } from '../../src/workers/ssh/detached/run-detached.ts'
import { fillDisk, noSmallDisk, smallDisk } from '../helpers/disk.ts'
import { type DetachedHost, failureOf, settle, startDetachedHost } from '../helpers/ssh-detached.ts'
import { sshdMissing, startSshd } from '../helpers/sshd.ts'

const skip = sshdMissing()

suite('where the files of a detached command lie', { skip: skip ?? noSmallDisk }, () => {
  let host: DetachedHost
  before(async () => {
    host = await startDetachedHost()
  })
  after(() => host?.close())

  const serverWith = (...config: string[]) =>
    startSshd({ config: [...config, `AuthorizedKeysFile ${host.sshd.folder}/authorized_keys`] })

  test('in a private folder; elsewhere where home cannot be written; nowhere in a folder of somebody else', async () => {
    const user = await host.account('/bin/sh')
    const run = () => {
      const ctx = host.contextFor(user)
      return { ctx, running: runDetached(ctx, { command: 'ls -ld "$(dirname "$0")"', detach: true }) }
    }
    const home = await run().running
    assert.match(home.stdout, new RegExp(`^drwx------ .* ${user.home}/\\.local/state/mahavishnu/detached/`))
    await rm(join(user.home, '.local'), { recursive: true })
    await chown(user.home, 0, 0)
    await chmod(user.home, 0o755)
    const other = await run()
    assert.match((await other.running).stdout, new RegExp(`^drwx------ .* /var/tmp/mahavishnu-${user.uid}/detached/`))
    await settle(other.ctx)
    // What somebody else made there in advance is not used.
    const traps = ['/var/tmp', '/tmp'].map((folder) => join(folder, `mahavishnu-${user.uid}`))
    try {
      for (const trap of traps) {
        await rm(trap, { recursive: true, force: true })
        await mkdir(join(trap, 'detached'), { recursive: true })
        await chmod(trap, 0o777)
        await chmod(join(trap, 'detached'), 0o777)
      }
      const { code, message } = await failureOf(run().running)
      assert.equal(code, 'MHV_SSH_DETACH_FAILED')
      assert.match(message, /nothing was started: no private folder can be made/)
      assert.deepEqual(
        traps.flatMap((trap) => readdirSync(join(trap, 'detached'))),
        [],
      )
    } finally {
      for (const trap of traps) await rm(trap, { recursive: true, force: true })
    }
  })

  test('on a full disk nothing is started, or its exit code is kept and the cut is told', async () => {
    await using disk = await smallDisk(1)
    await chmod(disk.folder, 0o777)
    const server = await serverWith(`SetEnv XDG_STATE_HOME=${disk.folder}`)
    const filled = await host.account('/bin/sh')
    const traps = ['/var/tmp', '/tmp'].map((folder) => join(folder, `mahavishnu-${filled.uid}`))
    try {
      const small = host.contextFor(filled, {}, server)
      const data = await runDetached(small, { command: 'head -c 5000000 /dev/zero; exit 6', detach: true })
      assert.deepEqual([data.exit_code, data.truncated, data.detached?.cut], [6, true, true])
      await settle(small)
      assert.deepEqual(readdirSync(join(disk.folder, 'mahavishnu/detached')), [])

      await chown(filled.home, 0, 0)
      for (const trap of traps) await writeFile(trap, '')
      await fillDisk(disk.folder, 0)
      const full = host.contextFor(filled, {}, server)
      const { code, message } = await failureOf(runDetached(full, { command: 'true', detach: true }))
      assert.equal(code, 'MHV_SSH_DETACH_FAILED')
      assert.match(message, /nothing was started/)
    } finally {
      await server.stop()
      for (const trap of traps) await rm(trap, { force: true })
    }
  })

  test('also where nothing may be executed', async () => {
    await using disk = await smallDisk(4)
    const user = await host.account('/bin/sh')
    spawnSync('mount', ['-o', 'remount,noexec', disk.folder])
    await chmod(disk.folder, 0o777)
    const server = await serverWith(`SetEnv XDG_STATE_HOME=${disk.folder}`)
    try {
      const ctx = host.contextFor(user, {}, server)
      const { stdout } = await runDetached(ctx, { command: 'echo "$0"', detach: true })
      assert.match(stdout, new RegExp(`^${disk.folder}/mahavishnu/detached/`))
    } finally {
      await server.stop()
    }
  })
})
