import assert from 'node:assert/strict'
import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { listFolder, removePaths } from '../../src/workers/ssh/files/remote-operations.ts'
import {
  type Answer,
  attributes,
  FXP,
  names,
  packet,
  type SftpPacket,
  status,
  text,
  uint32,
} from '../helpers/hostile-sftp.ts'
import {
  DIRECTORY,
  EOF,
  FAILURE,
  FXR,
  first,
  type Lies,
  MISSING,
  second,
  server,
  withServer,
} from '../helpers/hostile-transfer.ts'
import { leftovers, type TransferRequest } from '../helpers/ssh-transfer.ts'

/** Transfers, and lists of folders, with an SFTP server that is honest but for what each test lets it do. */

const LINK = 0o120777

suite('a transfer with a host that lies', () => {
  test('SSH-06: a file that says it is empty, and is not, is no success', async () => {
    const files = new Map([['f', Buffer.from('content')]])
    const empty = ({ id }: SftpPacket) => packet(FXP.ATTRS, uint32(id), attributes({ size: 0 }))
    await withServer(server(files, { [FXR.FSTAT]: empty, [FXR.STAT]: empty }), async (at) => {
      const { code } = await at.fails({
        direction: 'download',
        files: [{ local: 'in/f', remote: 'f' }],
        verify: 'size',
      })
      assert.equal(code, 'MHV_SSH_TRANSFER_SOURCE')
      assert.deepEqual(await readdir(at.local), [])
    })
  })

  test('SSH-10: links that are harmless one by one do not lead out of the tree together', async () => {
    const list = new Map<string, readonly (readonly [string, number])[]>([
      [
        'dir',
        [
          ['deep', DIRECTORY],
          ['out', LINK],
        ],
      ],
      ['dir/deep', [['er', DIRECTORY]]],
      ['dir/deep/er', [['top', LINK]]],
    ])
    const links: Readonly<Record<string, string>> = { 'dir/deep/er/top': '../..', 'dir/out': 'deep/er/top/..' }
    const lies: Lies = {
      [FXR.OPENDIR]: (asked) => packet(FXP.HANDLE, uint32(asked.id), text(first(asked))),
      [FXR.READDIR]: (asked) => {
        const entries = list.get(first(asked))
        list.delete(first(asked))
        return entries === undefined ? status(asked.id, EOF) : names(asked.id, entries)
      },
      [FXR.READLINK]: (asked) => names(asked.id, [[links[first(asked)] ?? '', 0]]),
    }
    await withServer(server(new Map(), lies), async (at) => {
      const { code } = await at.fails({
        direction: 'download',
        files: [{ local: 'in/tree', remote: 'dir' }],
        recursive: true,
        symlinks: 'copy',
        verify: 'size',
      })
      assert.equal(code, 'MHV_SSH_TRANSFER_NAME')
      assert.deepEqual(await readdir(at.local), [])
    })
  })

  test('SSH-06: one target by two spellings is refused', async () => {
    for (const other of ['./f', './/f', '././f']) {
      const files = new Map<string, Buffer>()
      await withServer(server(files, {}), async (at) => {
        await writeFile(join(at.local, 'a'), 'aaaa')
        await writeFile(join(at.local, 'b'), 'bbbb')
        const pairs = [
          { local: 'in/a', remote: 'f' },
          { local: 'in/b', remote: other },
        ]
        const { code } = await at.fails({ direction: 'upload', files: pairs, verify: 'size', fsync: false })
        assert.equal(code, 'MHV_SSH_TRANSFER_TARGET', other)
      })
    }
  })

  test('SSH-06: a target under two names, through a link on the host, has the whole content of one source', async () => {
    const files = new Map<string, Buffer>()
    const content = new Map<string, Buffer>()
    const answers = server(files, {}, ['posix-rename@openssh.com'])
    await withServer(answers, async (at) => {
      for (const name of ['a', 'b']) {
        content.set(name, Buffer.alloc(3_000_000, name))
        await writeFile(join(at.local, name), content.get(name) as Buffer)
      }
      const pairs = [
        { local: 'in/a', remote: 'f' },
        { local: 'in/b', remote: 'link/f' },
      ]
      await at.run({ direction: 'upload', files: pairs, verify: 'size', fsync: false })
      const there = files.get('f')
      assert.ok(
        [...content.values()].some((whole) => there?.equals(whole)),
        `${there?.length} bytes, of neither`,
      )
      assert.deepEqual([...files.keys()], ['f'])
    })
  })

  test('SSH-06: where the new file cannot take its place, the old one is back, or the error says where it is', async () => {
    for (const back of [true, false]) {
      const files = new Map([['f', Buffer.from('old')]])
      let asked = 0
      const lies: Lies = {
        [FXR.RENAME]: (request) => {
          asked += 1
          if (asked === 1 || (asked === 3 && back)) return undefined
          return status(request.id, FAILURE)
        },
      }
      await withServer(server(files, lies), async (at) => {
        await writeFile(join(at.local, 'f'), 'new')
        const { code, message } = await at.fails({
          direction: 'upload',
          files: [{ local: 'in/f', remote: 'f' }],
          verify: 'size',
          fsync: false,
        })
        assert.equal(code, back ? 'MHV_SSH_SFTP_FAILED' : 'MHV_SSH_TRANSFER_PARTIAL')
        if (back) return assert.deepEqual([...files], [['f', Buffer.from('old')]])
        const [aside] = [...files.keys()]
        assert.ok(aside?.endsWith('.old') && message.includes(aside), message)
      })
    }
  })

  test('SSH-06: without an atomic rename a copied link takes the place of what is there, but never that of a folder', async () => {
    for (const folder of [false, true]) {
      const files = new Map([['t/l', Buffer.from('old')]])
      const lies: Lies = {
        [FXR.SYMLINK]: (asked) => {
          const made = [first(asked), second(asked)].find((path) => path.includes('.mahavishnu-'))
          files.set(made ?? '', Buffer.from('new'))
          return undefined
        },
        // The tree is there already.
        [FXR.MKDIR]: ({ id }) => status(id, FAILURE),
        [FXR.STAT]: ({ id }) => packet(FXP.ATTRS, uint32(id), attributes({ mode: DIRECTORY })),
        [FXR.LSTAT]: (asked) =>
          folder && first(asked) === 't/l'
            ? packet(FXP.ATTRS, uint32(asked.id), attributes({ mode: DIRECTORY }))
            : undefined,
      }
      await withServer(server(files, lies), async (at) => {
        await mkdir(join(at.local, 't'))
        await symlink('f', join(at.local, 't', 'l'))
        const request: TransferRequest = {
          direction: 'upload',
          files: [{ local: 'in/t', remote: 't' }],
          recursive: true,
          symlinks: 'copy',
          verify: 'size',
        }
        if (folder) assert.equal((await at.fails(request)).code, 'MHV_SSH_TRANSFER_TARGET')
        else assert.equal((await at.run(request)).transferred, 1)
        assert.deepEqual([...files], [['t/l', Buffer.from(folder ? 'old' : 'new')]])
      })
    }
  })

  test('SSH-06: an old file that cannot be removed does not undo what is in its place', async () => {
    const files = new Map([['f', Buffer.from('old')]])
    const lies: Lies = { [FXR.REMOVE]: ({ id }) => status(id, FAILURE) }
    await withServer(server(files, lies), async (at) => {
      await writeFile(join(at.local, 'f'), 'new')
      const data = await at.run({
        direction: 'upload',
        files: [{ local: 'in/f', remote: 'f' }],
        verify: 'size',
        fsync: false,
      })
      assert.equal(String(files.get('f')), 'new')
      const aside = [...files.keys()].find((name) => name !== 'f')
      assert.ok(aside !== undefined && data.notes.join().includes(aside), data.notes.join())
    })
  })

  test('SSH-11: whatever request is refused, the error is one of the table and says what was asked', async () => {
    const listing = (asked: SftpPacket, seen: Set<string>) => {
      const once = !seen.has(first(asked)) && seen.add(first(asked))
      return once ? names(asked.id, [['l', LINK]]) : status(asked.id, EOF)
    }
    const download = {
      direction: 'download',
      files: [{ local: 'in/t', remote: 'dir' }],
      recursive: true,
      verify: 'size',
    } as const
    const upload = { direction: 'upload', files: [{ local: 'in/*', remote: 'dir/' }], verify: 'size' } as const
    const refuse = ({ id }: SftpPacket) => status(id, FAILURE, 'no')
    const cases: readonly (readonly [string, Lies, TransferRequest])[] = [
      ['readlink', { [FXR.READLINK]: refuse }, { ...download, symlinks: 'copy' }],
      [
        'realpath',
        { 16: refuse, [FXR.STAT]: ({ id }) => packet(FXP.ATTRS, uint32(id), attributes({ mode: DIRECTORY })) },
        { ...download, symlinks: 'follow' },
      ],
      ['lstat', { [FXR.LSTAT]: refuse }, { ...upload, overwrite: 'never' }],
      ['lstat', { [FXR.LSTAT]: refuse }, { ...upload, resume: true }],
    ]
    for (const [name, lies, request] of cases) {
      const seen = new Set<string>()
      const all: Lies = {
        [FXR.OPENDIR]: (asked) => packet(FXP.HANDLE, uint32(asked.id), text(first(asked))),
        [FXR.READDIR]: (asked) => listing(asked, seen),
        ...lies,
      }
      await withServer(server(new Map(), all), async (at) => {
        await writeFile(join(at.local, 'f'), 'x')
        const { code, message } = await at.fails(request)
        assert.match(`${name}: ${code} ${message}`, /: MHV_SSH_SFTP_FAILED 127\.0\.0\.1:\d+: .*"dir\/.*": no$/)
      })
    }
  })

  test('SSH-11: a pattern over folders without end takes no memory without bound', async () => {
    const wide = Array.from({ length: 2_000 }, (_, n) => [`d${n}`, DIRECTORY] as const)
    const seen = new Set<string>()
    const lies: Lies = {
      [FXR.OPENDIR]: (asked) => packet(FXP.HANDLE, uint32(asked.id), text(first(asked))),
      [FXR.READDIR]: (asked) => {
        const once = !seen.has(first(asked)) && seen.add(first(asked))
        return once ? names(asked.id, wide) : status(asked.id, EOF)
      },
    }
    await withServer(server(new Map(), lies), async (at) => {
      const { code, message } = await at.fails({
        direction: 'download',
        files: [{ local: 'in/', remote: 'dir/*/*' }],
        recursive: true,
        verify: 'size',
      })
      assert.equal(code, 'MHV_SSH_TRANSFER_SOURCE', message)
      assert.ok(seen.size < 100, `${seen.size} folders were listed`)
    })
  })

  test('SSH-02: a session that ends with a request on its way does not say that the request was refused', async () => {
    const ends: Readonly<Record<string, (send: (bytes: Buffer) => void, end: () => void) => void>> = {
      'the server ends it': (_send, end) => end(),
      'its answer is none': (send) => send(packet(FXP.HANDLE, uint32(0))),
    }
    for (const [how, act] of Object.entries(ends)) {
      const files = new Map([['f', Buffer.from('x')]])
      const honest = server(files, {})()
      const answers = (): Answer => (asked, send, end) => {
        if (asked.type !== FXR.REMOVE) return honest(asked, send, end)
        files.delete('f')
        act(send, end)
      }
      await withServer(answers, async (at) => {
        const removal = removePaths(at.context(), { paths: ['f'], recursive: false, missing_ok: false })
        await assert.rejects(removal, { code: 'MHV_SSH_CONNECTION_LOST' }, how)
        assert.equal(files.size, 0)
      })
    }
  })

  /** Every folder has so many entries, the first of which is a folder. */
  function nested(
    entries: number,
    asked: { count: number },
    atDepth: (depth: number) => void = () => undefined,
    deepest = 1_000,
  ): Lies {
    const seen = new Set<string>()
    const batch = Array.from({ length: entries }, (_, n): [string, number] => [
      `f${String(n).padStart(5, '0')}`,
      0o100644,
    ])
    const content: [string, number][] = [['a', DIRECTORY], ...batch]
    return {
      [FXR.LSTAT]: ({ id }) => packet(FXP.ATTRS, uint32(id), attributes({ mode: DIRECTORY })),
      [FXR.OPENDIR]: (request) => {
        asked.count += 1
        atDepth(asked.count)
        return packet(FXP.HANDLE, uint32(request.id), text(String(asked.count)))
      },
      [FXR.READDIR]: (request) => {
        const once = !seen.has(first(request)) && seen.add(first(request))
        return once && asked.count <= deepest ? names(request.id, content) : status(request.id, EOF)
      },
    }
  }

  test('SSH-11: folders in folders, each full, are not all kept to be downloaded', async () => {
    const asked = { count: 0 }
    await withServer(server(new Map(), nested(2_000, asked)), async (at) => {
      const { code } = await at.fails({
        direction: 'download',
        files: [{ local: 'in/t', remote: 'dir' }],
        recursive: true,
      })
      assert.equal(code, 'MHV_SSH_TRANSFER_SOURCE')
      assert.ok(asked.count <= 52, `${asked.count} folders were listed`)
    })
  })

  test('SSH-11: folders in folders, each full, are not all kept to be listed', async () => {
    setFlagsFromString('--expose-gc')
    const gc = runInNewContext('gc') as () => void
    const heap: number[] = []
    const asked = { count: 0 }
    const measure = (depth: number) => {
      if (depth !== 5 && depth !== 65) return
      gc()
      heap.push(process.memoryUsage().heapUsed)
    }
    await withServer(server(new Map(), nested(4_000, asked, measure, 65)), async (at) => {
      const listing = listFolder(at.context(), { path: 'dir', recursive: true, limit: 10_000 })
      assert.equal((await listing).entries.length, 10_000)
    })
    const [early = 0, late = 0] = heap
    assert.ok(late - early < 10 * 1024 * 1024, `${Math.round((late - early) / 1024 / 1024)} MB more after 60 folders`)
  })

  test('SSH-11: one wrong answer at any moment ends in an error of the table, and leaves nothing here', async (t) => {
    const seed = Number(process.env.MHV_SEED ?? Date.now() % 1_000_000)
    t.diagnostic(`MHV_SEED=${seed}`)
    const wrong: readonly ((id: number) => Buffer)[] = [
      (id) => status(id, 0),
      (id) => status(id, EOF),
      (id) => status(id, MISSING),
      (id) => status(id, FAILURE),
      (id) => status(id, 2 ** 31),
      (id) => packet(FXP.HANDLE, uint32(id), text('f')),
      (id) => packet(FXP.DATA, uint32(id), text('x')),
      (id) => packet(FXP.DATA, uint32(id), text(Buffer.alloc(300_000))),
      (id) => packet(FXP.DATA, uint32(id), text('')),
      (id) => packet(FXP.ATTRS, uint32(id), uint32(0)),
      (id) => packet(FXP.ATTRS, uint32(id), uint32(1), Buffer.alloc(8, 0xff)),
      (id) => packet(FXP.ATTRS, uint32(id), attributes({ size: 2 ** 40, mtime: 2 ** 32 - 1 })),
      (id) => names(id, []),
      (id) => Buffer.concat([status(id, 0), status(id, FAILURE)]),
    ]
    const codes = new Set<string>()
    let turn = seed
    const how: readonly Partial<TransferRequest>[] = [
      { verify: 'size' },
      { verify: 'size', overwrite: 'if_different', preserve_mtime: true },
      { verify: 'sha256', verify_readback: true, resume: true },
    ]
    for (let at = 0; at < 16; at += 1) {
      for (const direction of ['upload', 'download'] as const) {
        const files = new Map([['f', Buffer.alloc(600_000, 'f')]])
        const honest = server(files, {}, ['posix-rename@openssh.com', 'fsync@openssh.com'])()
        let left = at
        const answers = (): Answer => (asked, send, end) => {
          if (asked.type === FXP.INIT || left-- !== 0) return honest(asked, send, end)
          turn += 1
          send((wrong[turn % wrong.length] as (typeof wrong)[number])(asked.id))
        }
        await withServer(
          answers,
          async (place) => {
            if (direction === 'upload') await writeFile(join(place.local, 'f'), Buffer.alloc(600_000, 'g'))
            const options = how[turn % how.length] as Partial<TransferRequest>
            const running = place.run({ ...options, direction, files: [{ local: 'in/f', remote: 'f' }] })
            const code = await running.then(
              () => 'completed',
              (error: unknown) => String((error as { code?: unknown }).code ?? error),
            )
            assert.match(
              code,
              /^(completed|MHV_(?!INTERNAL)[A-Z_]+)$/,
              `${direction}, request ${at}, answer ${turn % wrong.length}`,
            )
            codes.add(code)
            if (options.resume !== true) assert.deepEqual(await leftovers(place.local), [])
          },
          1_000,
        )
      }
    }
    assert.ok(codes.size > 2, [...codes].join())
  })
})
