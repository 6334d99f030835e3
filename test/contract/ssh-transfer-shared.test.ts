import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import type { Answer, SftpPacket } from '../helpers/hostile-sftp.ts'
import { status } from '../helpers/hostile-sftp.ts'
import { FAILURE, FXR, first, type Lies, server, withServer } from '../helpers/hostile-transfer.ts'
import { leftovers, type TransferRequest } from '../helpers/ssh-transfer.ts'

/** What transfers have in common with others of the same target, and what they say of folders that they have made. */

const CONTENT = Buffer.alloc(2_000_000, 'whole ')
const POSIX_RENAME = 'posix-rename@openssh.com'

/** An honest server that holds back the first answer to a request that `at` is true for, until `until` resolves. */
function holding(
  files: Map<string, Buffer>,
  at: (asked: SftpPacket) => boolean,
  meanwhile: () => Promise<unknown>,
): () => Answer {
  const honest = server(files, {}, [POSIX_RENAME])()
  let held = false
  return () => (asked, send, end) => {
    if (held || !at(asked)) return honest(asked, send, end)
    held = true
    void meanwhile().then(() => honest(asked, send, end))
  }
}

suite('two transfers of the same source and target', () => {
  test('SSH-06: an upload that is resumed never places what another one is sending', async () => {
    const files = new Map<string, Buffer>()
    const sending = Promise.withResolvers<void>()
    let later: Promise<unknown> | undefined
    const request: TransferRequest = {
      direction: 'upload',
      files: [{ local: 'in/f', remote: 'f' }],
      verify: 'size',
      resume: true,
      fsync: false,
    }
    let start = () => Promise.resolve<unknown>(undefined)
    // The first one is whole and about to be renamed when the second one has sent its first piece.
    const first = holding(
      files,
      ({ type }) => type === FXR.EXTENDED,
      () => {
        later = start()
        later.catch(() => undefined)
        return sending.promise
      },
    )
    const answers = () => {
      const answer = first()
      return ((asked, send, end) => {
        answer(asked, send, end)
        if (later !== undefined && asked.type === FXR.WRITE) sending.resolve()
      }) satisfies Answer
    }
    await withServer(answers, async (at) => {
      await writeFile(join(at.local, 'f'), CONTENT)
      let seen: Buffer | undefined
      start = () => at.run(request)
      await at.run(request).finally(() => {
        seen = files.get('f')
      })
      assert.ok(seen?.equals(CONTENT), `${seen?.length} bytes had the name of the target`)
      const data = (await later) as Awaited<ReturnType<typeof at.run>>
      assert.match(data.notes.join(), /another transfer/)
      assert.ok(files.get('f')?.equals(CONTENT))
      assert.deepEqual([...files.keys()], ['f'])
      // The claim ends with the transfer: the next one has its part again.
      assert.deepEqual((await at.run(request)).notes, [])
    })
  })

  test('SSH-06: a download that is resumed never empties what another one has received', async () => {
    const files = new Map([['f', CONTENT]])
    const reading = Promise.withResolvers<void>()
    const placed = Promise.withResolvers<void>()
    let later: Promise<unknown> | undefined
    let start = () => Promise.resolve<unknown>(undefined)
    const held = holding(
      files,
      ({ type }) => type === FXR.CLOSE,
      () => {
        later = start()
        later.catch(() => undefined)
        return reading.promise
      },
    )
    const answers = (): Answer => {
      const answer = held()
      return (asked, send, end) => {
        if (later === undefined || asked.type !== FXR.READ) return answer(asked, send, end)
        // The second one has its file open, and gets nothing until the first one has placed its own.
        reading.resolve()
        void placed.promise.then(() => answer(asked, send, end))
      }
    }
    const request: TransferRequest = {
      direction: 'download',
      files: [{ local: 'in/f', remote: 'f' }],
      verify: 'size',
      resume: true,
    }
    await withServer(answers, async (at) => {
      start = () => at.run(request)
      await at.run(request)
      const seen = await readFile(join(at.local, 'f'))
      placed.resolve()
      assert.ok(seen.equals(CONTENT), `${seen.length} bytes had the name of the target`)
      await later
      assert.ok((await readFile(join(at.local, 'f'))).equals(CONTENT))
      assert.deepEqual(await leftovers(at.local), [])
    })
  })
})

suite('a transfer that has made folders and fails', () => {
  const refuse = ({ id }: SftpPacket) => status(id, FAILURE, 'no')

  test('SSH-06: does not say that nothing was done', async () => {
    const made: string[] = []
    const second: Lies = {
      [FXR.STAT]: ({ id }) => status(id, 2),
      [FXR.MKDIR]: (asked) => {
        if (first(asked).includes('/')) return refuse(asked)
        made.push(first(asked))
        return undefined
      },
    }
    const upload = { direction: 'upload', files: [{ local: 'in/f', remote: 'a/b/f' }], verify: 'size' } as const
    for (const lies of [{ [FXR.OPEN]: refuse }, second] satisfies Lies[]) {
      await withServer(server(new Map(), lies), async (at) => {
        await writeFile(join(at.local, 'f'), 'x')
        const { code, message } = await at.fails({ ...upload, parents: true })
        assert.equal(code, 'MHV_SSH_TRANSFER_PARTIAL', message)
        assert.match(message, /folders were made/)
      })
    }
    assert.deepEqual(made, ['a'])
    await withServer(server(new Map([['f', CONTENT]]), { [FXR.READ]: refuse }), async (at) => {
      const pair = { local: 'in/new/er/f', remote: 'f' }
      const { code } = await at.fails({ direction: 'download', files: [pair], parents: true, verify: 'size' })
      assert.equal(code, 'MHV_SSH_TRANSFER_PARTIAL')
      assert.deepEqual(await readdir(join(at.local, 'new')), ['er'])
    })
  })

  test('and says so where all of them were there', async () => {
    await withServer(server(new Map([['f', CONTENT]]), { [FXR.READ]: refuse }), async (at) => {
      await mkdir(join(at.local, 'old'))
      const pair = { local: 'in/old/f', remote: 'f' }
      const { code } = await at.fails({ direction: 'download', files: [pair], parents: true, verify: 'size' })
      assert.equal(code, 'MHV_SSH_SFTP_FAILED')
    })
  })
})
