import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { carrying, endAll, noneCarries, until } from '../helpers/processes.ts'
import { sshInstance } from '../helpers/ssh-instance.ts'
import { makeUser, type SystemUser } from '../helpers/ssh-user.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'
import { endUp, killUps, startUp, type Up } from '../helpers/up-process.ts'

/** `mahavishnu up` as it is shipped, killed while it follows a detached command, and started again. */

const skip = sshdMissing()
const shellAt = (name: string) => {
  const { stdout, status } = spawnSync('sh', ['-c', `command -v ${name}`], { encoding: 'utf8' })
  return status === 0 ? stdout.trim() : undefined
}

let sshd: Sshd
const users: SystemUser[] = []
const folders: string[] = []

before(async () => {
  if (!skip) sshd = await startSshd()
})
after(async () => {
  if (skip) return
  killUps()
  await sshd.stop()
  for (const user of users) await user.remove()
  for (const folder of folders) await rm(folder, { recursive: true, force: true })
})

/** What the journal has of one stream, byte for byte, and how much it says is missing. */
async function journaled(
  up: Up,
  runId: string,
  stream: string,
): Promise<{ readonly bytes: Buffer; readonly gap: number }> {
  const pieces: Buffer[] = []
  let gap = 0
  for (let cursor: unknown = 0; cursor !== null; ) {
    const page = await up.ask(`/v1/runs/${runId}/output?cursor=${cursor}&encoding=base64`)
    for (const chunk of page.chunks as { stream: string; text: string; gap_bytes: number }[]) {
      if (chunk.stream !== stream) continue
      gap += chunk.gap_bytes
      pieces.push(Buffer.from(chunk.text, 'base64'))
    }
    const next: unknown = page.next_cursor
    cursor = (page.chunks as unknown[]).length === 0 || next === cursor ? null : (next ?? null)
  }
  return { bytes: Buffer.concat(pieces), gap }
}

const ROWS = 40
/** It writes for a while, and ends when its user's home has the file `go`, however long all else takes. */
const COMMAND = `i=0; while [ $i -lt ${ROWS} ]; do
  echo "out $i"; head -c 10000 /dev/zero | tr '\\0' o; echo "err $i" >&2
  head -c 3000 /dev/zero | tr '\\0' e >&2; i=$((i + 1)); sleep 0.1
done; until [ -e go ]; do sleep 0.1; done; echo done >>ledger; exit 7`
const rows = Array.from({ length: ROWS }, (_, i) => i)
const OUT = rows.map((i) => `out ${i}\n${'o'.repeat(10_000)}`).join('')
const ERR = rows.map((i) => `err ${i}\n${'e'.repeat(3_000)}`).join('')

async function prepared(shell: string, more: Readonly<Record<string, unknown>> = {}) {
  const user = await makeUser({ shell })
  users.push(user)
  const runs = { output_head_bytes: 4_000_000, text_bytes: 4_000_000, heal_seconds: 1, drain_timeout: 1 }
  const folder = await sshInstance(sshd, { target: { user: user.name }, ssh: more, settings: { runs } })
  folders.push(folder)
  return { user, folder }
}

async function begin(up: Up, user: SystemUser): Promise<string> {
  const call = { target: 'box', wait: 0, input: { command: COMMAND, detach: true } }
  const { run_id } = await up.ask('/v1/workers/ssh/operations/execute', call)
  assert.ok(await until(() => carrying(run_id).length > 0), 'it runs')
  const files = join(user.home, '.local/state/mahavishnu/detached', run_id)
  assert.ok(await until(() => existsSync(files)), 'its files are there')
  return run_id
}

async function assertWhole(up: Up, user: SystemUser, runId: string): Promise<void> {
  await writeFile(join(user.home, 'go'), '')
  let run: Record<string, unknown> = {}
  const over = async () => {
    run = (await up.ask(`/v1/runs/${runId}`)).run
    return run.status !== 'running' && run.status !== 'pending'
  }
  assert.ok(await until(over, 30_000), JSON.stringify(run))
  const { status, exit_code, data } = run as { status: string; exit_code: number; data: Record<string, unknown> }
  assert.deepEqual([status, exit_code], ['completed', 7], JSON.stringify(run).slice(0, 2_000))
  assert.deepEqual([data.stdout === OUT, data.stderr === ERR, data.truncated], [true, true, false])
  const [out, err] = [await journaled(up, runId, 'stdout'), await journaled(up, runId, 'stderr')]
  assert.deepEqual([out.bytes.toString() === OUT, out.gap, out.bytes.length], [true, 0, OUT.length])
  assert.deepEqual([err.bytes.toString() === ERR, err.gap, err.bytes.length], [true, 0, ERR.length])
  assert.equal(await readFile(join(user.home, 'ledger'), 'utf8'), 'done\n')
  const files = join(user.home, '.local/state/mahavishnu/detached')
  assert.ok(await until(() => readdirSync(files).length === 0), 'nothing is left on the host')
}

suite('SSH-07: a detached command', { skip }, () => {
  for (const name of ['dash', 'bash', 'busybox']) {
    const path = shellAt(name)
    test(`is whole after its connection, then Mahavishnu, were killed in the middle: ${name}`, {
      skip: path === undefined ? `${name} is not installed` : false,
    }, async () => {
      const links = join(sshd.folder, 'shells')
      await mkdir(links, { recursive: true })
      const ash = join(links, 'ash')
      if (name === 'busybox') await symlink(path as string, ash)
      const { user, folder } = await prepared(name === 'busybox' ? ash : (path as string))
      const first = await startUp(folder)
      const runId = await begin(first, user)
      await delay(1_000)
      await endAll(sshd.connections())
      await delay(1_500)
      await endUp(first, 'SIGKILL')
      await delay(500)
      const second = await startUp(folder)
      await assertWhole(second, user, runId)
      await endUp(second, 'SIGTERM')
    })
  }

  test('is whole after Mahavishnu was stopped as usual, twice, and the worker has a process of its own', async () => {
    const { user, folder } = await prepared('/bin/sh', { isolation: 'process' })
    let up = await startUp(folder)
    const runId = await begin(up, user)
    for (let stops = 0; stops < 2; stops++) {
      await delay(500)
      await endUp(up, 'SIGTERM')
      assert.ok(carrying(runId).length > 0, 'it goes on')
      up = await startUp(folder)
    }
    await assertWhole(up, user, runId)
    await endUp(up, 'SIGTERM')
  })

  test('an attached command is still ended when Mahavishnu stops', async () => {
    const { folder } = await prepared('/bin/sh')
    const up = await startUp(folder)
    const call = { target: 'box', wait: 0, input: { command: 'sleep 300' } }
    const { run_id } = await up.ask('/v1/workers/ssh/operations/execute', call)
    assert.ok(await until(() => carrying(run_id).length > 0))
    await endUp(up, 'SIGTERM')
    noneCarries(run_id)
  })

  test('is ended at the next start where its time was over while Mahavishnu was down', async () => {
    const { user, folder } = await prepared('/bin/sh')
    const first = await startUp(folder)
    const call = { target: 'box', wait: 0, timeout: 4, input: { command: 'sleep 300', detach: true } }
    const { run_id } = await first.ask('/v1/workers/ssh/operations/execute', call)
    const files = join(user.home, '.local/state/mahavishnu/detached')
    assert.ok(await until(() => carrying(run_id).length > 0 && existsSync(join(files, run_id))), 'it runs')
    const killed = performance.now()
    await endUp(first, 'SIGKILL')
    assert.ok(await until(() => performance.now() - killed > 4_500), 'its time is over')
    assert.ok(carrying(run_id).length > 0, 'nobody has ended it')
    const second = await startUp(folder)
    assert.ok(await until(() => carrying(run_id).length === 0, 15_000), 'it is gone')
    assert.ok(await until(() => readdirSync(files).length === 0, 10_000), 'nothing is left on the host')
    const { run } = await second.ask(`/v1/runs/${run_id}`)
    assert.deepEqual([run.error_code, run.effect_certainty], ['MHV_RUN_INTERRUPTED', 'unknown'])
    await endUp(second, 'SIGTERM')
  })
})
