import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import type { RemoteFs } from '../core/ports.ts'

/** A port under test, whose host has the file system of this machine. */
export interface RemoteFsUnderTest {
  readonly port: RemoteFs
  /** Name of the host in the inventory. */
  readonly target: string
  close(): Promise<void>
}

/** What every implementation of RemoteFs has to do. */
export function remoteFsContract(name: string, open: () => Promise<RemoteFsUnderTest>, skip: string | false): void {
  suite(`RemoteFs: ${name}`, { skip }, () => {
    let here: RemoteFsUnderTest
    let folder: string
    const { signal } = new AbortController()
    before(async () => {
      folder = await mkdtemp(join(tmpdir(), 'mhv-remote-fs-'))
      here = await open()
    })
    after(async () => {
      await here?.close()
      await rm(folder, { recursive: true, force: true })
    })
    const coded = (code: string) => (error: unknown) => {
      assert.equal((error as { code?: string }).code, code, String(error))
      return true
    }

    test('a file is written and read by pieces, byte for byte', async () => {
      const path = join(folder, 'pieces')
      const all = randomBytes(3_000_001)
      for (let at = 0; at < all.length; at += 1_000_000) {
        await here.port.write(here.target, path, at, Uint8Array.from(all.subarray(at, at + 1_000_000)), signal)
      }
      assert.equal((await readFile(path)).compare(all), 0)
      const read: Uint8Array[] = []
      for (let at = 0; ; ) {
        const piece = await here.port.read(here.target, path, at, 1_234_567, signal)
        if (piece.length === 0) break
        read.push(piece)
        at += piece.length
      }
      const digest = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')
      assert.equal(digest(Buffer.concat(read)), digest(all))
    })

    test('a piece in the middle is replaced, and the rest stays', async () => {
      const path = join(folder, 'middle')
      await writeFile(path, '0123456789')
      await here.port.write(here.target, path, 3, Uint8Array.from(Buffer.from('xyz')), signal)
      assert.equal(await readFile(path, 'utf8'), '012xyz6789')
    })

    test('a read at the end of the file is short or empty', async () => {
      const path = join(folder, 'short')
      await writeFile(path, 'abc')
      const at = async (offset: number, bytes: number) =>
        Buffer.from(await here.port.read(here.target, path, offset, bytes, signal)).toString()
      assert.deepEqual([await at(1, 10), await at(3, 10), await at(9, 1), await at(0, 0)], ['bc', '', '', ''])
    })

    test('facts of an entry are its own, a link being a link', async () => {
      const path = join(folder, 'facts')
      await writeFile(path, '12345', { mode: 0o640 })
      await symlink('facts', join(folder, 'link'))
      const { kind, bytes, mode, modified } = await here.port.stat(here.target, path, signal)
      assert.deepEqual([kind, bytes, mode], ['file', 5, 0o640])
      assert.ok(Math.abs(modified - Date.now()) < 60_000)
      assert.equal((await here.port.stat(here.target, join(folder, 'link'), signal)).kind, 'symlink')
    })

    test('a folder is listed, an entry renamed over another one, and removed', async () => {
      const base = await mkdtemp(join(folder, 'list-'))
      await writeFile(join(base, 'a'), 'a')
      await writeFile(join(base, 'b'), 'b')
      await here.port.rename(here.target, join(base, 'a'), join(base, 'b'), signal)
      const names = async () => (await here.port.list(here.target, base, signal)).map(({ path }) => path)
      assert.deepEqual(await names(), [join(base, 'b')])
      assert.equal(await readFile(join(base, 'b'), 'utf8'), 'a')
      await here.port.remove(here.target, join(base, 'b'), signal)
      assert.deepEqual(await names(), [])
      await here.port.remove(here.target, base, signal)
      await assert.rejects(here.port.list(here.target, base, signal), coded('MHV_SSH_SFTP_NOT_FOUND'))
    })

    test('what is asked for in vain is an error with a code', async () => {
      const none = join(folder, 'none')
      await assert.rejects(here.port.stat(here.target, none, signal), coded('MHV_SSH_SFTP_NOT_FOUND'))
      await assert.rejects(here.port.read(here.target, none, 0, 1, signal), coded('MHV_SSH_SFTP_NOT_FOUND'))
      await assert.rejects(here.port.remove(here.target, none, signal), coded('MHV_SSH_SFTP_NOT_FOUND'))
      await assert.rejects(here.port.read(here.target, none, -1, 1, signal), coded('MHV_INPUT_INVALID'))
      await assert.rejects(here.port.read(here.target, none, 0, 2 ** 30, signal), coded('MHV_INPUT_INVALID'))
      await assert.rejects(here.port.stat(here.target, 'a\0b', signal), coded('MHV_INPUT_INVALID'))
      await assert.rejects(here.port.stat('none-such', none, signal), coded('MHV_TARGET_UNKNOWN'))
    })

    test('an aborted call ends', async () => {
      const controller = new AbortController()
      const reading = here.port.list(here.target, '/', controller.signal)
      controller.abort(new Error('enough'))
      await assert.rejects(reading)
    })
  })
}
