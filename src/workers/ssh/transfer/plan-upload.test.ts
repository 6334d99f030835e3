import assert from 'node:assert/strict'
import fs from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { createFolders } from './local-folders.ts'
import { planUpload } from './plan-upload.ts'
import { sftpTransfer } from './transfer.ts'
import type { Plan } from './types.ts'

let root: string

async function plan(local: string, more: Record<string, unknown> = {}): Promise<Plan> {
  const files = [{ local, remote: 'to' }]
  const input = sftpTransfer.input.parse({ direction: 'upload', files, recursive: true, ...more })
  const roots = { folders: [root], setting: 'ssh.local_roots' }
  const folderRef = createFolders(roots, () => undefined)
  return planUpload({ input, roots, folderRef, signal: AbortSignal.timeout(10_000) })
}

suite('the plan of an upload', () => {
  before(async () => {
    root = await fs.realpath(await fs.mkdtemp(join(tmpdir(), 'mhv-plan-')))
    await fs.mkdir(join(root, 'tree', 'below'), { recursive: true })
    await fs.writeFile(join(root, 'tree', 'f'), 'x')
    await fs.writeFile(join(root, 'a*'), 'x')
    await fs.symlink('tree', join(root, 'to-tree'))
    await fs.symlink('tree/f', join(root, 'to-file'))
  })
  after(() => fs.rm(root, { recursive: true, force: true }))

  test('says why a folder that was asked for with recursive cannot be opened', async (t) => {
    const { open } = fs
    t.mock.method(fs, 'open', (path: string, ...rest: never[]) =>
      String(path).endsWith('/tree')
        ? Promise.reject(Object.assign(new Error('EACCES: denied'), { code: 'EACCES' }))
        : open(path, ...rest),
    )
    syncBuiltinESMExports()
    try {
      for (const local of ['tree', 'to-tree'])
        await assert.rejects(plan(local), { code: 'MHV_LOCAL_FAILED', message: /tree": EACCES$/ }, local)
    } finally {
      t.mock.restoreAll()
      syncBuiltinESMExports()
    }
  })

  test('with recursive takes a file, and a link to one, for what it is', async () => {
    for (const local of ['tree/f', 'to-file']) {
      const { items } = await plan(local)
      assert.deepEqual(
        items.map(({ kind, local: path }) => [kind, path]),
        [['file', join(root, 'tree', 'f')]],
      )
    }
    await assert.rejects(plan('nothing'), { code: 'MHV_SSH_TRANSFER_SOURCE', message: /is not there/ })
  })

  test('treats a link that a pattern matched by the policy, also where it leads to a folder', async () => {
    const { items, skipped } = await plan('to-tre?')
    assert.deepEqual(items, [])
    assert.deepEqual(
      skipped.map(({ reason }) => reason),
      ['a symbolic link'],
    )
    await assert.rejects(plan('to-tre?', { symlinks: 'refuse' }), { code: 'MHV_SSH_TRANSFER_SOURCE' })
    assert.equal((await plan('to-tre?', { symlinks: 'follow' })).items.length, 3)
  })

  test('names a file with a star in it by a backslash', async () => {
    assert.deepEqual(
      (await plan('a\\*')).items.map(({ name }) => name),
      ['a*'],
    )
  })
})
