import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import {
  appendFile,
  chmod,
  mkdir,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { until } from '../helpers/processes.ts'
import { leftovers, type TransferPlace, transferPlace } from '../helpers/ssh-transfer.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

/** `ssh.sftp_transfer` against a real sshd, without faults. */

const skip = sshdMissing() ?? false
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

let sshd: Sshd
let at: TransferPlace

suite('ssh.sftp_transfer', { skip }, () => {
  before(async () => {
    sshd = await startSshd()
    at = await transferPlace(sshd)
  })
  after(async () => {
    await at?.[Symbol.asyncDispose]()
    await sshd?.stop()
  })

  for (const bytes of [0, 1, 4096, 261_120, 261_121, 5_000_003]) {
    test(`SSH-06: a file of ${bytes} bytes is whole and verified, both ways`, async () => {
      const content = randomBytes(bytes)
      await writeFile(join(at.local, 'a'), content)
      const remote = join(at.remote, `b${bytes}`)
      const up = await at.run({ direction: 'upload', files: [{ local: 'a', remote }] })
      assert.ok((await readFile(remote)).equals(content))
      const [file] = up.files
      assert.deepEqual(
        [file?.bytes, file?.sha256, file?.verified, up.durable],
        [bytes, sha256(content), 'sha256', 'yes'],
      )
      await at.run({ direction: 'download', files: [{ local: `c${bytes}`, remote }] })
      assert.ok((await readFile(join(at.local, `c${bytes}`))).equals(content))
      assert.deepEqual([await leftovers(at.local), await leftovers(at.remote)], [[], []])
    })
  }

  test('mode and time follow where they are asked for, and a target is replaced', async () => {
    await writeFile(join(at.local, 'script'), 'echo new\n')
    await chmod(join(at.local, 'script'), 0o751)
    await utimes(join(at.local, 'script'), 1_600_000_000, 1_600_000_000)
    const remote = join(at.remote, 'script')
    await writeFile(remote, 'echo old\n', { mode: 0o600 })
    await at.run({ direction: 'upload', files: [{ local: 'script', remote }], preserve_mtime: true })
    const there = await stat(remote)
    assert.deepEqual(
      [await readFile(remote, 'utf8'), there.mode & 0o777, there.mtimeMs],
      ['echo new\n', 0o751, 1_600_000_000_000],
    )
    await at.run({ direction: 'download', files: [{ local: 'back', remote }], preserve_mtime: true })
    const back = await stat(join(at.local, 'back'))
    assert.deepEqual([back.mode & 0o777, back.mtimeMs], [0o751, 1_600_000_000_000])
  })

  test('a mode that the umask of the host takes bits from is set all the same', async () => {
    await writeFile(join(at.local, 'open'), 'x')
    await chmod(join(at.local, 'open'), 0o666)
    await at.run({ direction: 'upload', files: [{ local: 'open', remote: join(at.remote, 'open') }] })
    assert.equal((await stat(join(at.remote, 'open'))).mode & 0o777, 0o666)
    await chmod(join(at.local, 'open'), 0o444)
    await at.run({ direction: 'upload', files: [{ local: 'open', remote: join(at.remote, 'open') }] })
    assert.equal((await stat(join(at.remote, 'open'))).mode & 0o777, 0o444)
  })

  const names = [
    'plain',
    "quote's",
    'double"quote',
    'new\nline',
    'ünïcödé ☃',
    '-rf',
    '$(id)',
    '\\back',
    'x'.repeat(255),
    '☃'.repeat(85),
  ]

  test('SSH-06: names with quotes, line breaks and UTF-8, and as long as can be, in a tree both ways', async () => {
    const tree = join(at.local, 'odd')
    await mkdir(join(tree, 'sub dir\n'), { recursive: true })
    for (const name of names) await writeFile(join(tree, 'sub dir\n', name), name)
    const up = await at.run({
      direction: 'upload',
      files: [{ local: 'odd', remote: join(at.remote, 'odd') }],
      recursive: true,
    })
    assert.equal(up.transferred, names.length)
    const down = await at.run({
      direction: 'download',
      files: [{ local: 'odd2', remote: join(at.remote, 'odd') }],
      recursive: true,
    })
    assert.equal(down.transferred, names.length)
    for (const root of [join(at.remote, 'odd'), join(at.local, 'odd2')]) {
      assert.deepEqual((await readdir(join(root, 'sub dir\n'))).sort(), [...names].sort())
      for (const name of names) assert.equal(await readFile(join(root, 'sub dir\n', name), 'utf8'), name)
    }
  })

  test('a name that is not UTF-8 is left out, and said so, both ways', async () => {
    const odd = Buffer.concat([Buffer.from(`${join(at.local, 'latin')}/`), Buffer.from([0xe4])])
    await mkdir(join(at.local, 'latin'))
    await writeFile(odd, 'x')
    await writeFile(join(at.local, 'latin', 'ok'), 'x')
    const up = await at.run({
      direction: 'upload',
      files: [{ local: 'latin', remote: join(at.remote, 'latin') }],
      recursive: true,
    })
    assert.deepEqual([up.transferred, up.skipped], [1, 1])
    assert.match(up.files.find((file) => file.skipped !== null)?.skipped ?? '', /not UTF-8/)
    await writeFile(Buffer.concat([Buffer.from(`${join(at.remote, 'latin')}/`), Buffer.from([0xff])]), 'y')
    const down = await at.run({
      direction: 'download',
      files: [{ local: 'latin2', remote: join(at.remote, 'latin') }],
      recursive: true,
    })
    assert.deepEqual([down.transferred, down.skipped], [1, 1])
  })

  test('patterns, a folder as target, and missing parents', async () => {
    for (const name of ['r1.csv', 'r2.csv', 'r.txt', '.r3.csv']) await writeFile(join(at.local, name), name)
    const request = { direction: 'upload', files: [{ local: '*.csv', remote: join(at.remote, 'new/deep/') }] } as const
    await assert.rejects(at.run(request), { code: 'MHV_SSH_TRANSFER_TARGET' })
    const up = await at.run({ ...request, parents: true })
    assert.equal(up.transferred, 2)
    assert.deepEqual((await readdir(join(at.remote, 'new/deep'))).sort(), ['r1.csv', 'r2.csv'])
    const down = await at.run({
      direction: 'download',
      files: [{ local: 'in/here/', remote: join(at.remote, 'n?w/d*/r1.*') }],
      parents: true,
    })
    assert.deepEqual([down.transferred, await readFile(join(at.local, 'in/here/r1.csv'), 'utf8')], [1, 'r1.csv'])
    await assert.rejects(at.run({ direction: 'upload', files: [{ local: '*.nothing', remote: '/tmp/' }] }), {
      code: 'MHV_SSH_TRANSFER_SOURCE',
    })
    await writeFile(join(at.local, 'a*b'), 'star')
    await at.run({ direction: 'upload', files: [{ local: 'a*b', remote: join(at.remote, 'star') }], glob: false })
    assert.equal(await readFile(join(at.remote, 'star'), 'utf8'), 'star')
  })

  test('a folder in the place of a file, on either side, is refused before anything is sent', async () => {
    await mkdir(join(at.local, 'folder'))
    await mkdir(join(at.remote, 'folder'))
    await writeFile(join(at.local, 'file'), 'x')
    const wrong = [
      [{ local: 'folder', remote: join(at.remote, 'f') }, 'upload', 'MHV_SSH_TRANSFER_SOURCE', /recursive/],
      [{ local: 'file', remote: join(at.remote, 'folder') }, 'upload', 'MHV_SSH_TRANSFER_TARGET', /end it with/],
      [{ local: 'f', remote: join(at.remote, 'folder') }, 'download', 'MHV_SSH_TRANSFER_SOURCE', /recursive/],
      [{ local: 'folder', remote: join(at.remote, 'star') }, 'download', 'MHV_SSH_TRANSFER_TARGET', /end it with/],
      [{ local: 'no', remote: join(at.remote, 'f') }, 'upload', 'MHV_SSH_TRANSFER_SOURCE', /not there/],
      [{ local: 'no', remote: join(at.remote, 'no') }, 'download', 'MHV_SSH_TRANSFER_SOURCE', /not there/],
    ] as const
    for (const [pair, direction, code, message] of wrong) {
      await assert.rejects(at.run({ direction, files: [pair] }), { code, message }, `${direction} ${pair.local}`)
    }
    await at.run({ direction: 'upload', files: [{ local: 'file', remote: `${join(at.remote, 'folder')}/` }] })
    assert.equal(await readFile(join(at.remote, 'folder/file'), 'utf8'), 'x')
  })

  test('overwrite: never leaves what is there, if_different what is the same', async () => {
    await writeFile(join(at.local, 'o1'), 'same')
    await writeFile(join(at.local, 'o2'), 'mine')
    await writeFile(join(at.remote, 'o1'), 'same')
    await writeFile(join(at.remote, 'o2'), 'your')
    const files = ['o1', 'o2', 'r.txt'].map((name) => ({ local: name, remote: join(at.remote, name) }))
    const never = await at.run({ direction: 'upload', files, overwrite: 'never' })
    assert.deepEqual([never.transferred, never.skipped, await readFile(join(at.remote, 'o2'), 'utf8')], [1, 2, 'your'])
    const different = await at.run({ direction: 'upload', files, overwrite: 'if_different' })
    assert.deepEqual([different.transferred, different.skipped], [1, 2])
    assert.equal(await readFile(join(at.remote, 'o2'), 'utf8'), 'mine')
    await writeFile(join(at.remote, 'o2'), 'once')
    const down = await at.run({ direction: 'download', files, overwrite: 'never' })
    assert.deepEqual([down.transferred, down.skipped], [0, 3])
    const again = await at.run({ direction: 'download', files, overwrite: 'if_different' })
    assert.deepEqual([again.transferred, await readFile(join(at.local, 'o2'), 'utf8')], [1, 'once'])
  })

  test('symbolic links by policy, both ways', async () => {
    const tree = join(at.local, 'links')
    await mkdir(join(tree, 'real'), { recursive: true })
    await writeFile(join(tree, 'real', 'f'), 'linked')
    await symlink('real/f', join(tree, 'to-file'))
    await symlink('real', join(tree, 'to-folder'))
    const run = (
      direction: 'upload' | 'download',
      symlinks: 'skip' | 'follow' | 'refuse' | 'copy',
      to: string,
      from = 'links',
    ) =>
      at.run({
        direction,
        files: [
          direction === 'upload'
            ? { local: from, remote: join(at.remote, to) }
            : { local: to, remote: join(at.remote, from) },
        ],
        recursive: true,
        symlinks,
      })
    const skipped = await run('upload', 'skip', 'l-skip')
    assert.deepEqual([skipped.transferred, skipped.skipped], [1, 2])
    await assert.rejects(run('upload', 'refuse', 'l-refuse'), { code: 'MHV_SSH_TRANSFER_SOURCE' })
    assert.equal((await run('upload', 'follow', 'l-follow')).transferred, 3)
    assert.equal(await readFile(join(at.remote, 'l-follow/to-folder/f'), 'utf8'), 'linked')
    assert.equal((await run('upload', 'copy', 'l-copy')).transferred, 3)
    assert.equal(await readlink(join(at.remote, 'l-copy/to-file')), 'real/f')
    assert.equal((await run('download', 'copy', 'l-back', 'l-copy')).transferred, 3)
    assert.equal(await readlink(join(at.local, 'l-back/to-folder')), 'real')
    assert.equal((await run('download', 'follow', 'l-back2', 'l-copy')).transferred, 3)
    await assert.rejects(run('download', 'refuse', 'l-back3', 'l-copy'), { code: 'MHV_SSH_TRANSFER_SOURCE' })
    await symlink('../../../etc/passwd', join(at.remote, 'l-copy/out'))
    await assert.rejects(run('download', 'copy', 'l-back4', 'l-copy'), { code: 'MHV_SSH_TRANSFER_NAME' })
    await assert.rejects(stat(join(at.local, 'l-back4')))
    await symlink('..', join(at.remote, 'l-follow/loop'))
    await assert.rejects(run('download', 'follow', 'l-back5', 'l-follow'), /reached by a link before|deeper/)
  })

  test('SSH-10: a path outside the roots is neither read nor written', async () => {
    const outside = join(at.local, '../outside')
    await writeFile(outside, 'secret')
    await symlink(outside, join(at.local, 'sneak'))
    await symlink('..', join(at.local, 'up'))
    const remote = join(at.remote, 'stolen')
    for (const local of [outside, '../outside', 'sneak', 'up/outside']) {
      await assert.rejects(
        at.run({ direction: 'upload', files: [{ local, remote }] }),
        { code: 'MHV_LOCAL_OUTSIDE_ROOTS' },
        local,
      )
    }
    await writeFile(remote, 'poison')
    for (const local of [outside, '../outside', 'up/outside']) {
      await assert.rejects(
        at.run({ direction: 'download', files: [{ local, remote }] }),
        { code: 'MHV_LOCAL_OUTSIDE_ROOTS' },
        local,
      )
    }
    // A link under the name of the target is replaced, not written through.
    await at.run({ direction: 'download', files: [{ local: 'sneak', remote }] })
    assert.deepEqual(
      [await readFile(outside, 'utf8'), await readFile(join(at.local, 'sneak'), 'utf8')],
      ['secret', 'poison'],
    )
  })

  test('SSH-06: a file that changes while it is uploaded is no file of the target', async () => {
    const local = join(at.local, 'growing')
    await writeFile(local, randomBytes(8_000_000))
    const remote = join(at.remote, 'growing')
    const running = at.run({ direction: 'upload', files: [{ local: 'growing', remote }], bandwidth_limit: 16_000_000 })
    const writing = (async () => {
      assert.ok(await until(async () => (await leftovers(at.remote)).length > 0), 'it is under way')
      await appendFile(local, 'more')
    })()
    await assert.rejects(running, { code: 'MHV_SSH_TRANSFER_CHANGED' })
    await writing
    await assert.rejects(stat(remote))
    assert.deepEqual(await leftovers(at.remote), [])
  })

  test('the bandwidth limit holds, and progress tells bytes, rate and time left at most some times a second', async () => {
    await writeFile(join(at.local, 'slow'), randomBytes(2_000_000))
    const ctx = at.context()
    const told: { progress: number; total?: number; message?: string }[] = []
    Object.assign(ctx, { progress: async (step: (typeof told)[number]) => void told.push(step) })
    const began = performance.now()
    await at.run(
      { direction: 'upload', files: [{ local: 'slow', remote: join(at.remote, 'slow') }], bandwidth_limit: 1_000_000 },
      ctx,
    )
    const seconds = (performance.now() - began) / 1000
    assert.ok(seconds > 1.4, `${seconds} s`)
    assert.ok(told.length >= 4 && told.length <= 5 * seconds + 2, `${told.length} messages in ${seconds} s`)
    assert.equal(told.at(-1)?.progress, 2_000_000)
    assert.ok(told.every(({ total }) => total === 2_000_000))
    assert.ok(
      told.some(({ message = '' }) => /0 of 1 files, [\d.]+ \wB\/s, \d+ s left/.test(message)),
      JSON.stringify(told),
    )
  })

  test('a tree of many files names the first ones in the result and all of them in the output', async () => {
    const tree = join(at.local, 'many')
    await mkdir(tree)
    await Promise.all(Array.from({ length: 700 }, (_, n) => writeFile(join(tree, `f${n}`), `${n}`.repeat(n))))
    const ctx = at.context()
    const up = await at.run(
      { direction: 'upload', files: [{ local: 'many', remote: join(at.remote, 'many') }], recursive: true },
      ctx,
    )
    assert.deepEqual([up.transferred, up.files.length, up.files_left_out], [700, 100, 600])
    const lines = ctx.output
      .bytes('stdout')
      .toString()
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    assert.equal(new Set(lines.map(({ remote }) => remote)).size, 700)
    await at.run({
      direction: 'download',
      files: [{ local: 'many2', remote: join(at.remote, 'many') }],
      recursive: true,
    })
    for (let n = 0; n < 700; n += 1)
      assert.equal(await readFile(join(at.local, 'many2', `f${n}`), 'utf8'), `${n}`.repeat(n))
    await rm(join(at.local, 'many2'), { recursive: true })
  })
})
