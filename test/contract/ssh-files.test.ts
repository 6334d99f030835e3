import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, suite, test } from 'node:test'
import { execute } from '../../src/workers/ssh/execute.ts'
import { entryLine } from '../../src/workers/ssh/files/remote-entry.ts'
import { listFolder, makeFolder, removePaths, statPath } from '../../src/workers/ssh/files/remote-operations.ts'
import { sftpRemove } from '../../src/workers/ssh/files/sftp-remove.ts'
import { runCommand } from '../../src/workers/ssh/run-command.ts'
import { childrenOf, signalIfThere, until } from '../helpers/processes.ts'
import { operationContext, startWorker, type TestWorker, targetOf } from '../helpers/ssh-context.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

/** Listing, looking at, making and removing files over SFTP, against OpenSSH's sshd. */

let sshd: Sshd
let worker: TestWorker
let folder: string
let home: string

const ctx = () => operationContext(worker, targetOf(sshd))
const code =
  (expected: string, message = /./) =>
  (error: unknown) => {
    const { code, message: said } = error as { code?: string; message: string }
    assert.equal(code, expected, said)
    assert.match(said, message)
    return true
  }
const list = (path: string, more: { recursive?: boolean; limit?: number } = {}) =>
  listFolder(ctx(), { path, recursive: false, limit: 1_000, ...more })
const remove = (paths: string[], more: { recursive?: boolean; missing_ok?: boolean } = {}) =>
  removePaths(ctx(), { paths, recursive: false, missing_ok: false, ...more })
const mkdirAt = (path: string, more: { parents?: boolean; mode?: string } = {}) =>
  makeFolder(ctx(), { path, parents: true, mode: '0755', ...more })

suite('files over SFTP', { skip: sshdMissing() ?? false }, () => {
  before(async () => {
    sshd = await startSshd()
    worker = await startWorker()
    home = await mkdtemp(join(tmpdir(), 'mhv-files-'))
  })
  after(async () => {
    await worker.close()
    await sshd.stop()
    await rm(home, { recursive: true, force: true })
  })
  beforeEach(async () => {
    folder = await mkdtemp(join(home, 'case-'))
  })

  test('a folder is listed with kinds, sizes, modes and times; a link is a link', async () => {
    await writeFile(join(folder, 'b'), '12345', { mode: 0o640 })
    await utimes(join(folder, 'b'), 1_700_000_000, 1_700_000_000)
    await mkdir(join(folder, 'a'))
    await symlink('/etc', join(folder, 'c'))
    const { entries, truncated, hostile_names } = await list(folder)
    assert.deepEqual([truncated, hostile_names], [false, 0])
    assert.deepEqual(
      entries.map(({ path, kind }) => [path.slice(folder.length + 1), kind]),
      [
        ['a', 'directory'],
        ['b', 'file'],
        ['c', 'symlink'],
      ],
    )
    const b = {
      path: join(folder, 'b'),
      kind: 'file',
      bytes: 5,
      mode: '0640',
      modified: '2023-11-14T22:13:20Z',
    } as const
    assert.deepEqual(entries[1], b)
    assert.match(entryLine(b), /^-0640 +5 2023-11-14T22:13:20Z \/.*\/b$/)
  })

  test('a tree is listed without following links, up to the limit', async () => {
    await mkdir(join(folder, 'x', 'y'), { recursive: true })
    await writeFile(join(folder, 'x', 'y', 'z'), '')
    await symlink(folder, join(folder, 'x', 'loop'))
    const names = (await list(folder, { recursive: true })).entries.map(({ path }) => path.slice(folder.length + 1))
    assert.deepEqual(names, ['x', 'x/loop', 'x/y', 'x/y/z'])
    const cut = await list(folder, { recursive: true, limit: 2 })
    assert.deepEqual([cut.entries.length, cut.truncated], [2, true])
    assert.equal((await list(folder, { recursive: true, limit: 4 })).truncated, false)
  })

  test('names with newlines, quotes, escapes and UTF-8 are what they are, and harmless as a line', async () => {
    const names = ['-rf', 'a\nb', 'q\'"`$(x)', 'ü 漢', '\x1b[31mred']
    for (const name of names) await writeFile(join(folder, name), '')
    const { entries } = await list(folder)
    assert.deepEqual(entries.map(({ path }) => path.slice(folder.length + 1)).sort(), [...names].sort())
    for (const entry of entries) assert.doesNotMatch(entryLine(entry), /[\x00-\x1f]/)
    await remove(names.map((name) => join(folder, name)))
    assert.equal((await list(folder)).entries.length, 0)
  })

  test('one file is looked at; of a link the link itself, or what it points at', async () => {
    await writeFile(join(folder, 'file'), 'abc')
    await symlink('file', join(folder, 'link'))
    const link = await statPath(ctx(), { path: join(folder, 'link'), follow: false })
    assert.deepEqual([link.kind, link.link_target], ['symlink', 'file'])
    const file = await statPath(ctx(), { path: join(folder, 'link'), follow: true })
    assert.deepEqual([file.kind, file.bytes, file.link_target], ['file', 3, null])
    await assert.rejects(
      statPath(ctx(), { path: join(folder, 'none'), follow: false }),
      code('MHV_SSH_SFTP_NOT_FOUND', /there is no ".*none"/),
    )
    await assert.rejects(list(join(folder, 'none')), code('MHV_SSH_SFTP_NOT_FOUND'))
    await assert.rejects(list(join(folder, 'file')), code('MHV_SSH_SFTP_NOT_FOUND'))
  })

  test('folders are made with those on the way; a second time nothing is done', async () => {
    const deep = join(folder, 'a', 'b')
    assert.deepEqual((await mkdirAt(deep, { mode: '0700' })).created, [join(folder, 'a'), deep])
    assert.deepEqual((await mkdirAt(deep)).created, [])
    assert.equal((await statPath(ctx(), { path: deep, follow: false })).mode, '0700')
    await assert.rejects(mkdirAt(join(folder, 'm', 'n'), { parents: false }), code('MHV_SSH_SFTP_NOT_FOUND'))
    await writeFile(join(folder, 'file'), '')
    await assert.rejects(mkdirAt(join(folder, 'file')), code('MHV_SSH_SFTP_EXISTS', /is no folder/))
    await assert.rejects(mkdirAt(join(folder, 'file', 'x')), code('MHV_SSH_SFTP_EXISTS'))
  })

  test('files, links and empty folders are removed, and a link is never followed', async () => {
    await mkdir(join(folder, 'kept'))
    await writeFile(join(folder, 'kept', 'file'), '')
    await mkdir(join(folder, 'tree', 'deep'), { recursive: true })
    await symlink(join(folder, 'kept'), join(folder, 'tree', 'deep', 'link'))
    await assert.rejects(remove([join(folder, 'tree')]), code('MHV_INPUT_INVALID', /is a folder with 1 entries/))
    assert.deepEqual(await remove([join(folder, 'tree')], { recursive: true }), { removed: 3, missing: [] })
    assert.ok(existsSync(join(folder, 'kept', 'file')))
    assert.ok(!existsSync(join(folder, 'tree')))
  })

  test('SSH-11: a host that stands still in the middle is left at the deadline', async () => {
    await list(folder)
    const call = operationContext(worker, targetOf(sshd), { timeoutMs: 1_000 })
    const began = performance.now()
    const listing = listFolder(call, { path: '/usr', recursive: true, limit: 10_000 })
    listing.catch(() => undefined)
    const serving = () => sshd.connections().flatMap((pid) => [pid, ...childrenOf(pid)])
    assert.ok(await until(() => sshd.connections().some((pid) => childrenOf(pid).length > 0)))
    const stopped = serving()
    try {
      for (const pid of stopped) signalIfThere(pid, 'SIGSTOP')
      await assert.rejects(listing, code('MHV_RUN_TIMEOUT'))
      assert.ok(performance.now() - began < 3_000)
    } finally {
      for (const pid of stopped) signalIfThere(pid, 'SIGCONT')
    }
  })

  test('what is named by itself and lies in a named folder as well is removed once', async () => {
    await mkdir(join(folder, 'twice'))
    await writeFile(join(folder, 'twice', 'f'), 'x')
    const paths = [join(folder, 'twice', 'f'), join(folder, 'twice')]
    assert.deepEqual(await remove(paths, { recursive: true }), { removed: 2, missing: [] })
  })

  test('a link with a slash behind it is removed as a link, too', async () => {
    await mkdir(join(folder, 'kept'))
    await writeFile(join(folder, 'kept', 'file'), '')
    await symlink(join(folder, 'kept'), join(folder, 'link'))
    const input = sftpRemove.input.parse({ paths: [`${join(folder, 'link')}/`], recursive: true })
    assert.deepEqual(await removePaths(ctx(), input), { removed: 1, missing: [] })
    assert.ok(existsSync(join(folder, 'kept', 'file')))
    assert.ok(!existsSync(join(folder, 'link')))
  })

  test('when one path is missing nothing is removed, unless that is all right', async () => {
    await writeFile(join(folder, 'file'), '')
    const paths = [join(folder, 'file'), join(folder, 'none')]
    await assert.rejects(remove(paths), code('MHV_SSH_SFTP_NOT_FOUND'))
    assert.ok(existsSync(join(folder, 'file')))
    assert.deepEqual(await remove(paths, { missing_ok: true }), { removed: 1, missing: [join(folder, 'none')] })
  })

  test('what cannot be removed is told, with what was', async () => {
    await mkdir(join(folder, 'tree', 'held'), { recursive: true })
    await writeFile(join(folder, 'tree', 'goes'), '')
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', join(folder, 'tree', 'held')])
    try {
      await assert.rejects(remove([join(folder, 'tree')], { recursive: true }), (error: unknown) => {
        code('MHV_SSH_SFTP_INCOMPLETE', /1 removed, 2 left/)(error)
        const { details } = error as { details: { failed: { path: string }[] } }
        assert.deepEqual(
          details.failed.map(({ path }) => path),
          [join(folder, 'tree', 'held'), join(folder, 'tree')],
        )
        return true
      })
    } finally {
      execFileSync('umount', [join(folder, 'tree', 'held')])
    }
  })

  test('a full disk is called full', async () => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m,nr_inodes=4', 'tmpfs', folder])
    try {
      await mkdirAt(join(folder, 'a', 'b', 'c'))
      await assert.rejects(mkdirAt(join(folder, 'd')), code('MHV_SSH_SFTP_NO_SPACE', /the disk of the host is full/))
    } finally {
      execFileSync('umount', [folder])
    }
  })

  test('roots and what lies above are no names to remove', () => {
    for (const path of [
      '/',
      '.',
      '..',
      '../..',
      './',
      '//',
      '',
      '~',
      '~/x',
      'a/..',
      '/etc/..',
      'a/.',
      'a/../',
      'a//.',
    ]) {
      assert.equal(sftpRemove.input.safeParse({ paths: [path] }).success, false, path)
    }
    for (const path of ['a', '.hidden', '/a', '...']) {
      assert.equal(sftpRemove.input.safeParse({ paths: [path] }).success, true, path)
    }
  })

  test('an account for SFTP alone has files and no commands', async () => {
    const only = await startSshd({ config: ['ForceCommand internal-sftp'] })
    try {
      const target = targetOf(only)
      await writeFile(join(folder, 'file'), '')
      const { entries } = await listFolder(operationContext(worker, target), {
        path: folder,
        recursive: false,
        limit: 9,
      })
      assert.equal(entries.length, 1)
      await assert.rejects(
        runCommand(operationContext(worker, target), execute.input.parse({ command: 'true' })),
        code('MHV_SSH_SHELL_UNSUPPORTED'),
      )
    } finally {
      await only.stop()
    }
  })

  test('a host without SFTP is told from one that cannot be reached', async () => {
    for (const sftp of [false, '/bin/false', '/bin/echo hello'] as const) {
      const without = await startSshd({ sftp })
      try {
        const there = operationContext(worker, targetOf(without), { timeoutMs: 5_000 })
        await assert.rejects(
          listFolder(there, { path: '.', recursive: false, limit: 1 }),
          code('MHV_SSH_SFTP_UNSUPPORTED'),
        )
      } finally {
        await without.stop()
      }
    }
  })
})
