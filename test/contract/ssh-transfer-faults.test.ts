import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { randomBytes, randomInt } from 'node:crypto'
import { once } from 'node:events'
import { chmod, chown, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { partOwner } from '../../src/workers/ssh/transfer/claim-part.ts'
import { resumeId, tempName } from '../../src/workers/ssh/transfer/temp-name.ts'
import { noSmallDisk, smallDisk } from '../helpers/disk.ts'
import { childrenOf, signalIfThere, until } from '../helpers/processes.ts'
import { leftovers, type TransferPlace, type TransferRequest, transferPlace } from '../helpers/ssh-transfer.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'
import { startTcpProxy } from '../helpers/tcp-proxy.ts'

/** A transfer that is broken off at any moment leaves every target as it was, or has made it whole. */

const skip = sshdMissing() ?? false
const SIZE = 6_000_000
const DIRECTIONS = ['upload', 'download'] as const
type Direction = (typeof DIRECTIONS)[number]

let sshd: Sshd

/** A source with new content and a target with other content, or none. */
async function pair(at: TransferPlace, direction: Direction, old: Buffer | undefined, bytes = SIZE) {
  const name = `f${randomInt(2 ** 40)}`
  const content = randomBytes(bytes)
  const [from, to] = direction === 'upload' ? [at.local, at.remote] : [at.remote, at.local]
  await writeFile(join(from, name), content)
  if (old !== undefined) await writeFile(join(to, name), old)
  const request = {
    direction,
    files: [{ local: name, remote: join(at.remote, name) }],
    fsync: false,
  } satisfies TransferRequest
  const target = join(to, name)
  return { name, request, target, folder: to, content, read: () => readFile(target).catch(() => undefined) }
}

const same = (one: Buffer | undefined, other: Buffer | undefined) =>
  one === undefined || other === undefined ? one === other : one.equals(other)

async function codeOf(running: Promise<unknown>): Promise<string> {
  return running.then(
    () => 'completed',
    (error: unknown) => String((error as { code?: unknown }).code ?? error),
  )
}

suite('a broken transfer', { skip }, () => {
  before(async () => {
    sshd = await startSshd()
  })
  after(async () => {
    await sshd?.stop()
  })

  for (const direction of DIRECTIONS) {
    test(`SSH-06: ${direction}: the connection is cut at random bytes`, async () => {
      const proxy = await startTcpProxy({ port: sshd.port })
      try {
        await using at = await transferPlace(sshd, {
          target: { port: proxy.port, host_key_alias: `[127.0.0.1]:${sshd.port}` },
        })
        let broken = 0
        for (let round = 0; round < 12; round += 1) {
          const old = round % 2 === 0 ? randomBytes(1000) : undefined
          const file = await pair(at, direction, old)
          // The last ones strike the verification and the rename.
          proxy.cutAfter(round < 9 ? randomInt(20_000, SIZE) : SIZE + randomInt(10_000))
          const code = await codeOf(at.run(file.request))
          const now = await file.read()
          if (code === 'completed') assert.ok(same(now, file.content), `round ${round}`)
          else {
            broken += 1
            assert.match(code, /^MHV_SSH_CONNECT/)
            assert.ok(same(now, old) || same(now, file.content), `round ${round}: ${now?.length} bytes`)
            if (round < 9) assert.ok(same(now, old), `round ${round}`)
          }
          if (direction === 'download') assert.deepEqual(await leftovers(at.local), [])
        }
        assert.ok(broken >= 9, `${broken} were broken`)
      } finally {
        await proxy.close()
      }
    })

    test(`SSH-06: ${direction}: sshd's process is killed at random moments`, async () => {
      await using at = await transferPlace(sshd)
      let broken = 0
      for (let round = 0; round < 6; round += 1) {
        const old = round % 2 === 0 ? randomBytes(1000) : undefined
        const file = await pair(at, direction, old)
        const running = codeOf(at.run({ ...file.request, bandwidth_limit: 3_000_000 }))
        while ((await leftovers(file.folder)).length === 0) await delay(2)
        await delay(randomInt(400))
        const serving = sshd.connections().flatMap((pid) => [pid, ...childrenOf(pid)])
        for (const pid of serving) signalIfThere(pid, 'SIGKILL')
        const code = await running
        const now = await file.read()
        // A machine that is busy elsewhere may kill it too late.
        if (code === 'completed') assert.ok(same(now, file.content), `round ${round}`)
        else {
          broken += 1
          assert.match(code, /^MHV_SSH_CONNECT/)
          assert.ok(same(now, old), `round ${round}: ${now?.length} bytes`)
        }
      }
      assert.ok(broken >= 3, `${broken} were broken`)
    })

    test(`SSH-06: ${direction}: a cancellation and a deadline leave nothing behind`, async () => {
      await using at = await transferPlace(sshd)
      for (const [how, code] of [
        ['cancel', 'MHV_RUN_CANCELLED'],
        ['expire', 'MHV_RUN_TIMEOUT'],
      ] as const) {
        const old = randomBytes(1000)
        const file = await pair(at, direction, old)
        const ctx = at.context()
        const running = codeOf(at.run({ ...file.request, bandwidth_limit: 10_000_000 }, ctx))
        while ((await leftovers(file.folder)).length === 0) await delay(5)
        const began = performance.now()
        ctx[how]()
        assert.equal(await running, code)
        assert.ok(performance.now() - began < 1_500)
        assert.ok(same(await file.read(), old))
        assert.deepEqual(await leftovers(file.folder), [])
      }
    })

    test(`SSH-06: ${direction}: a full disk of the receiver`, { skip: noSmallDisk }, async () => {
      await using disk = await smallDisk(4)
      await using at = await transferPlace(sshd, { [direction === 'upload' ? 'remote' : 'local']: disk.folder })
      for (const old of [randomBytes(1000), undefined]) {
        const file = await pair(at, direction, old)
        const code = await codeOf(at.run(file.request))
        assert.equal(code, direction === 'upload' ? 'MHV_SSH_SFTP_NO_SPACE' : 'MHV_LOCAL_NO_SPACE')
        assert.ok(same(await file.read(), old))
        assert.deepEqual(await leftovers(disk.folder), [])
      }
    })

    test(`SSH-06: ${direction}: what was cut off goes on where it was, and only from a true beginning`, async () => {
      const proxy = await startTcpProxy({ port: sshd.port })
      try {
        await using at = await transferPlace(sshd, {
          target: { port: proxy.port, host_key_alias: `[127.0.0.1]:${sshd.port}` },
        })
        for (const spoil of [false, true]) {
          const file = await pair(at, direction, undefined)
          proxy.cutAfter(SIZE / 2)
          assert.match(await codeOf(at.run({ ...file.request, resume: true })), /^MHV_SSH_CONNECT/)
          // The server may still be writing what it had read.
          await delay(100)
          const [part = ''] = await leftovers(file.folder)
          const kept = await stat(join(file.folder, part))
          assert.ok(kept.size > 0 && kept.size < SIZE, `${kept.size} bytes were kept`)
          if (spoil) await writeFile(join(file.folder, part), randomBytes(100), { flag: 'r+' })
          const { files, notes } = await at.run({ ...file.request, resume: true })
          assert.equal(files[0]?.resumed_from, spoil ? 0 : kept.size)
          assert.equal(notes.length, spoil ? 1 : 0)
          assert.ok(same(await file.read(), file.content))
          assert.deepEqual(await leftovers(file.folder), [])
        }
      } finally {
        await proxy.close()
      }
    })

    test(`SSH-06: ${direction}: this process is killed at random moments`, async () => {
      await using at = await transferPlace(sshd)
      let resumed = 0
      for (let round = 0; round < 4; round += 1) {
        const old = round % 2 === 0 ? randomBytes(1000) : undefined
        const file = await pair(at, direction, old)
        const child = fork(new URL('../fixtures/ssh-transfer-run.ts', import.meta.url), {
          stdio: 'inherit',
          // What it leaves there goes with the folder.
          env: { ...process.env, TMPDIR: dirname(at.local) },
        })
        const started = once(child, 'message')
        child.send({
          sshd: { ...sshd, connections: undefined },
          local: at.local,
          instance: at.worker.folder,
          request: { ...file.request, bandwidth_limit: 10_000_000, resume: true },
        })
        await started
        // At any moment, and in half of the rounds when something is there to go on with, however busy the machine is.
        if (round >= 2) await until(async () => (await leftovers(file.folder)).length > 0)
        await delay(randomInt(100, 400))
        child.kill('SIGKILL')
        await once(child, 'exit')
        assert.ok(same(await file.read(), old), `round ${round}`)
        const { files } = await at.run({ ...file.request, resume: true })
        assert.ok(same(await file.read(), file.content))
        resumed += files[0]?.resumed_from ?? 0
      }
      assert.ok(resumed > 0, 'what was there already was used')
    })
  }

  test('SSH-06: a file whose size is 0 and that has content is refused, both ways', async () => {
    await using at = await transferPlace(sshd, { local: '/proc' })
    for (const verify of ['sha256', 'size'] as const) {
      for (const count of [1, 40]) {
        const names = Array.from({ length: count }, (_, n) => join(at.remote, `f${n}`))
        const files = names.map((remote) => ({ local: 'version', remote }))
        assert.equal(await codeOf(at.run({ direction: 'upload', files, verify })), 'MHV_SSH_TRANSFER_SOURCE')
        assert.deepEqual(await readdir(at.remote), [])
      }
    }
    await using here = await transferPlace(sshd)
    const files = [{ local: 'f', remote: '/proc/version' }]
    const code = await codeOf(here.run({ direction: 'download', files, verify: 'size' }))
    assert.equal(code, 'MHV_SSH_TRANSFER_SOURCE')
    assert.deepEqual(await readdir(here.local), [])
  })

  test('SSH-06: a beginning that another user has put there is not gone on with', {
    skip: process.getuid?.() === 0 ? false : 'only root can make a file of another user',
  }, async () => {
    await using at = await transferPlace(sshd)
    const file = await pair(at, 'download', undefined)
    const source = join(at.remote, file.name)
    const { size, mtimeMs } = await stat(source)
    const mtime = Math.floor(mtimeMs / 1000)
    const owner = partOwner(at.context(), `${sshd.host}:${sshd.port}`)
    const id = resumeId({ owner, direction: 'download', source, size, mtime, target: file.target })
    const temp = join(at.local, tempName(file.name, id))
    await writeFile(temp, file.content.subarray(0, 1_000_000))
    await chmod(temp, 0o666)
    await chown(temp, 65_534, 65_534)
    const data = await at.run({ ...file.request, resume: true })
    assert.equal(data.files[0]?.resumed_from, 0)
    assert.ok(same(await file.read(), file.content))
    assert.equal((await stat(file.target)).uid, 0)
  })

  test('SSH-06: a source that cannot be read leaves the others whole, and the error says that some are there', async () => {
    await using at = await transferPlace(sshd)
    const names = Array.from({ length: 300 }, (_, n) => `f${String(n).padStart(3, '0')}`)
    for (const name of names) await writeFile(join(at.local, name), name)
    await mkdir(join(at.remote, 'f299'))
    const error = await at.run({ direction: 'upload', files: [{ local: 'f*', remote: `${at.remote}/` }] }).then(
      () => undefined,
      (thrown: unknown) => thrown as { code: string; details: { transferred: number } },
    )
    assert.equal(error?.code, 'MHV_SSH_TRANSFER_PARTIAL')
    assert.ok((error?.details.transferred ?? 0) >= 256)
    const there = (await readdir(at.remote)).filter((name) => name !== 'f299')
    assert.equal(there.length, error?.details.transferred)
    for (const name of there) assert.equal(await readFile(join(at.remote, name), 'utf8'), name)
  })
})

suite('a host whose programs are not as they should be', { skip }, () => {
  /** A server whose sessions find only these programs. */
  async function withPrograms(programs: Readonly<Record<string, string>>, use: (at: TransferPlace) => Promise<void>) {
    const folder = await mkdtemp(join(tmpdir(), 'mhv-programs-'))
    for (const [name, text] of Object.entries(programs)) {
      await writeFile(join(folder, name), text)
      await chmod(join(folder, name), 0o755)
    }
    const server = await startSshd({ config: [`SetEnv SHLVL=3 PATH=${folder}`] })
    try {
      await using at = await transferPlace(server)
      await use(at)
    } finally {
      await server.stop()
      await rm(folder, { recursive: true })
    }
  }

  test('SSH-06: without a program for SHA-256 nothing is transferred, or it is read back where that is asked for', async () => {
    await withPrograms({}, async (at) => {
      for (const direction of DIRECTIONS) {
        const file = await pair(at, direction, undefined)
        assert.equal(await codeOf(at.run(file.request)), 'MHV_SSH_TRANSFER_UNVERIFIED')
        assert.equal(await file.read(), undefined)
        const back = await at.run({ ...file.request, verify_readback: true })
        assert.equal(back.files[0]?.verified, 'sha256')
        assert.match(back.notes.join(), /read back/)
        assert.ok(same(await file.read(), file.content))
        const sized = await at.run({ ...file.request, verify: 'size' })
        assert.deepEqual([sized.files[0]?.verified, sized.files[0]?.sha256, sized.notes], ['size', null, []])
      }
    })
  })

  test('SSH-06: what the host has hashed is what counts: another digest than ours is no success', async () => {
    const zeros = '0'.repeat(64)
    const programs = { xargs: `#!/bin/sh\necho '${zeros}  x'\n`, sha256sum: '#!/bin/sh\n' }
    await withPrograms(programs, async (at) => {
      for (const direction of DIRECTIONS) {
        const old = randomBytes(10)
        const file = await pair(at, direction, old)
        assert.equal(await codeOf(at.run(file.request)), 'MHV_SSH_TRANSFER_MISMATCH')
        assert.ok(same(await file.read(), old))
        assert.deepEqual(await leftovers(file.folder), [])
      }
    })
  })

  test('a source that became shorter is found on the way', async () => {
    await withPrograms({}, async (at) => {
      const file = await pair(at, 'download', undefined)
      const running = codeOf(at.run({ ...file.request, verify: 'size', bandwidth_limit: 10_000_000 }))
      await delay(250)
      await truncate(join(at.remote, file.name), 1000)
      assert.equal(await running, 'MHV_SSH_TRANSFER_CHANGED')
      assert.equal(await file.read(), undefined)
    })
  })
})
