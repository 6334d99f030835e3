import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { CIPHERS } from '../../src/workers/ssh/settings.ts'
import { transferPlace } from '../helpers/ssh-transfer.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

/** The server asks for new keys again and again while files are on their way. */

const BYTES = 10_000_000
const content = randomBytes(BYTES)
let sshd: Sshd

suite('SSH-09: new keys in mid-transfer', { skip: sshdMissing() ?? false }, () => {
  before(async () => {
    sshd = await startSshd({ config: ['RekeyLimit 1M', 'LogLevel DEBUG1'] })
  })
  after(async () => {
    await sshd?.stop()
  })

  const rekeyed = async () => (await sshd.log()).split('set_newkeys: rekeying').length - 1

  for (const cipher of CIPHERS) {
    test(`SSH-09: ${cipher}: nothing is corrupted in either direction`, async () => {
      await using at = await transferPlace(sshd, { settings: { ciphers: [cipher] } })
      await writeFile(join(at.local, 'a'), content)
      const remote = join(at.remote, 'a')
      for (const request of [
        { direction: 'upload', files: [{ local: 'a', remote }] },
        { direction: 'download', files: [{ local: 'b', remote }] },
      ] as const) {
        const before = await rekeyed()
        const { files } = await at.run({ ...request, fsync: false })
        assert.equal(files[0]?.verified, 'sha256')
        // Each exchange brings new keys for both ways.
        const times = (await rekeyed()) - before
        assert.ok(times >= 6, `${times} new keys during the ${request.direction}`)
      }
      assert.ok((await readFile(remote)).equals(content))
      assert.ok((await readFile(join(at.local, 'b'))).equals(content))
    })
  }
})
