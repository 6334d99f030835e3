import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs, { chmod, link, mkdir, mkdtemp, readFile, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, mock, suite, test } from 'node:test'
import fc from 'fast-check'
import { hostileName, type LocalRoots, openLocalFolder, openParent } from './local-files.ts'

let base: string
let roots: LocalRoots

before(async () => {
  base = await realpath(await mkdtemp(join(tmpdir(), 'mhv-local-')))
  await mkdir(join(base, 'in', 'sub'), { recursive: true })
  await mkdir(join(base, 'out'))
  await writeFile(join(base, 'out', 'secret'), 'secret')
  await writeFile(join(base, 'in', 'file'), 'inside')
  roots = { folders: [join(base, 'in'), join(base, 'second')], setting: 'ssh.local_roots' }
})
after(() => rm(base, { recursive: true, force: true }))

const code = (expected: string) => (error: unknown) => (error as { code?: string }).code === expected

async function readAt(path: string): Promise<string> {
  const { folder, name } = await openParent(path, roots)
  try {
    const file = await folder.read(name)
    return await file.readFile('utf8').finally(() => file.close())
  } finally {
    await folder.close()
  }
}

suite('SSH-10: local files outside the allowed roots', () => {
  test('a path inside is read, relative to the first root or absolute', async () => {
    assert.equal(await readAt('file'), 'inside')
    assert.equal(await readAt(join(base, 'in', 'sub', '..', 'file')), 'inside')
  })

  test('what lies outside is refused by name, and the message names the roots', async () => {
    for (const path of ['../out/secret', join(base, 'out', 'secret'), '/etc/passwd', `${base}/input`, '/', '']) {
      await assert.rejects(readAt(path), (error: Error) => {
        assert.match(error.message, path === '' ? /./ : /lies in no folder of ssh\.local_roots \(.*\/in, .*\/second\)/)
        return true
      })
    }
    await assert.rejects(readAt('a\0b'), code('MHV_INPUT_INVALID'))
    await assert.rejects(openLocalFolder('x', { folders: [], setting: 'none' }), code('MHV_LOCAL_OUTSIDE_ROOTS'))
  })

  test('links: one that stays inside may be on the way, one that leads out or is the file itself may not', async () => {
    await symlink('sub', join(base, 'in', 'inner'))
    await symlink('../out', join(base, 'in', 'outer'))
    await symlink('../out/secret', join(base, 'in', 'leak'))
    await symlink('nowhere', join(base, 'in', 'dangling'))
    await writeFile(join(base, 'in', 'sub', 'deep'), 'deep')
    assert.equal(await readAt('inner/deep'), 'deep')
    await assert.rejects(readAt('outer/secret'), code('MHV_LOCAL_OUTSIDE_ROOTS'))
    await assert.rejects(readAt('leak'), code('MHV_LOCAL_FAILED'))
    await assert.rejects(openLocalFolder('dangling/x', roots, true), code('MHV_LOCAL_NOT_FOUND'))
    const { folder } = await openParent('leak', roots)
    await assert.rejects(folder.create('leak', true), code('MHV_LOCAL_FAILED'))
    await assert.rejects(folder.folder('outer'), code('MHV_LOCAL_FAILED'))
    await folder.close()
    assert.equal(await readFile(join(base, 'out', 'secret'), 'utf8'), 'secret')
  })

  test('a folder that is swapped for a link after it was opened leads nowhere else', async () => {
    await mkdir(join(base, 'in', 'swap'))
    const folder = await openLocalFolder('swap', roots)
    await rm(join(base, 'in', 'swap'), { recursive: true })
    await symlink('../out', join(base, 'in', 'swap'))
    await assert.rejects(folder.read('secret'), code('MHV_LOCAL_NOT_FOUND'))
    await assert.rejects(folder.create('planted'))
    await folder.close()
    await assert.rejects(readFile(join(base, 'out', 'planted')))
  })

  test('pipes, folders and files with a second name are no files to use', { timeout: 10_000 }, async () => {
    execFileSync('mkfifo', [join(base, 'in', 'pipe')])
    await assert.rejects(readAt('pipe'), code('MHV_LOCAL_NOT_A_FILE'))
    await assert.rejects(readAt('sub'), code('MHV_LOCAL_NOT_A_FILE'))
    await link(join(base, 'out', 'secret'), join(base, 'in', 'second-name'))
    const { folder } = await openParent('second-name', roots)
    await assert.rejects(folder.create('second-name', true), code('MHV_LOCAL_NOT_A_FILE'))
    await folder.close()
  })

  test("the instance's own folder is closed, but for a root that lies in it", async () => {
    await mkdir(join(base, 'instance', 'files'), { recursive: true })
    await writeFile(join(base, 'instance', 'http.token'), 'token')
    await writeFile(join(base, 'instance', 'files', 'mine'), 'mine')
    const closed = join(base, 'instance')
    const all: LocalRoots = { folders: [base], closed, setting: 's' }
    await assert.rejects(openParent(join(closed, 'http.token'), all), code('MHV_LOCAL_OUTSIDE_ROOTS'))
    const some: LocalRoots = { folders: [join(closed, 'files')], closed, setting: 's' }
    const { folder, name } = await openParent('mine', some)
    assert.equal((await folder.stat(name))?.bytes, 4)
    await folder.close()
  })

  test('a name of a far side is one component, and nothing else gets to the disk', async () => {
    for (const name of ['', '.', '..', 'a/b', '/etc', 'a\0', 'x'.repeat(256), 'ü'.repeat(128)]) {
      assert.notEqual(hostileName(name), undefined, name)
    }
    for (const name of ['a', '...', '-rf', 'a\nb', 'ü', ' ', 'x'.repeat(255)])
      assert.equal(hostileName(name), undefined)
    const folder = await openLocalFolder('', roots)
    await fc.assert(
      fc.asyncProperty(fc.stringMatching(/^[./a\0\\-]{0,6}$/), async (name) => {
        const file = await folder.create(`${name}`, true).catch(() => undefined)
        await file?.close()
        if (file === undefined) return
        assert.equal(hostileName(name), undefined)
        await folder.remove(name)
      }),
      { numRuns: 200 },
    )
    await folder.close()
  })
})

/** Makes a call of the file system fail for one path while something is done. */
async function failing<T>(
  call: 'lstat' | 'mkdir' | 'realpath',
  path: string,
  systemCode: string,
  act: () => Promise<T>,
): Promise<T> {
  const real = fs[call] as (...args: readonly unknown[]) => Promise<unknown>
  const fail = async (...args: readonly unknown[]) => {
    if (args[0] === path) throw Object.assign(new Error(systemCode), { code: systemCode })
    return real(...args)
  }
  const mocked = mock.method(fs, call, fail as never)
  syncBuiltinESMExports()
  try {
    return await act()
  } finally {
    mocked.mock.restore()
    syncBuiltinESMExports()
  }
}

suite('SSH-10: what the file system does not tell is refused, never passed over', () => {
  const refusal = (expected: string, path: string, systemCode: string) => (error: unknown) => {
    const { code: given, details } = error as { code?: string; details?: Record<string, unknown> }
    assert.deepEqual([given, details?.['path'], details?.['system_code']], [expected, path, systemCode])
    return true
  }

  test('where the closed folder cannot be told, everything is closed; where there is none, nothing is', async () => {
    const loop = join(base, 'loop')
    await symlink('loop', loop)
    await assert.rejects(openParent('file', { ...roots, closed: loop }), refusal('MHV_LOCAL_FAILED', loop, 'ELOOP'))
    const closed = join(base, 'instance-of-another')
    await failing('realpath', closed, 'EACCES', async () => {
      await assert.rejects(openParent('file', { ...roots, closed }), refusal('MHV_LOCAL_FAILED', closed, 'EACCES'))
    })
    const { folder } = await openParent('file', { ...roots, closed })
    await folder.close()
  })

  test('a root that cannot be made is refused with the reason, and one that is there needs not be made', async () => {
    const root = join(base, 'unmade', 'root')
    const first: LocalRoots = { folders: [root], setting: 's' }
    for (const [systemCode, expected] of [
      ['EACCES', 'MHV_LOCAL_FAILED'],
      ['ENOSPC', 'MHV_LOCAL_NO_SPACE'],
      ['EMFILE', 'MHV_NO_DESCRIPTORS'],
    ] as const) {
      await failing('mkdir', root, systemCode, async () => {
        await assert.rejects(openLocalFolder('', first), { code: expected })
      })
    }
    await (await openLocalFolder('', first)).close()
    await failing('mkdir', root, 'EACCES', async () => (await openLocalFolder('', first)).close())
  })

  test('as a user who may not write there, a root is refused with the reason', async () => {
    const locked = join(base, 'locked')
    await mkdir(locked)
    await chmod(base, 0o755)
    await chmod(locked, 0o555)
    // The superuser may write everywhere.
    const before = process.geteuid?.() ?? 1
    if (before === 0) process.seteuid?.(65_534)
    try {
      const root = join(locked, 'root')
      await assert.rejects(
        openLocalFolder('', { folders: [root], setting: 's' }),
        refusal('MHV_LOCAL_FAILED', root, 'EACCES'),
      )
    } finally {
      if (before === 0) process.seteuid?.(0)
    }
  })

  test('a component of which it cannot be told whether it is a link is none that is missing', async () => {
    const path = join(base, 'in', 'unsure')
    await failing('lstat', path, 'EIO', async () => {
      await assert.rejects(openLocalFolder('unsure', roots, true), refusal('MHV_LOCAL_FAILED', path, 'EIO'))
    })
    await assert.rejects(readFile(path), { code: 'ENOENT' })
  })
})

test('folders on the way are made where that is asked, and the second root is not', async () => {
  const { folder, name } = await openParent('new/deeper/file', roots, true)
  const file = await folder.create(name)
  await file.writeFile('x')
  await file.close()
  await folder.sync()
  await folder.rename('file', 'other')
  assert.deepEqual((await folder.names()).map(String), ['other'])
  await folder.remove('other')
  assert.equal(await folder.stat('other'), undefined)
  await folder.close()
  await assert.rejects(openLocalFolder(join(base, 'second', 'x'), roots, true), code('MHV_LOCAL_NOT_FOUND'))
  await assert.rejects(openLocalFolder('missing', roots), code('MHV_LOCAL_NOT_FOUND'))
})
