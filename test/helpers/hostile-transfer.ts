import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sshTarget } from '../../src/workers/ssh/settings.ts'
import { sftpTransfer, type TransferData } from '../../src/workers/ssh/transfer/transfer.ts'
import {
  type Answer,
  attributes,
  FXP,
  packet,
  type SftpPacket,
  startHostileSftp,
  status,
  text,
  uint32,
  version,
} from './hostile-sftp.ts'
import { operationContext, startWorker, type TestRun } from './ssh-context.ts'
import type { TransferRequest } from './ssh-transfer.ts'

/** A fake: an SFTP server that keeps files in a map and is honest but for what each test lets it do, and its client. */

/** Types of requests: draft-ietf-secsh-filexfer-02, section 3. */
export const FXR = {
  OPEN: 3,
  CLOSE: 4,
  READ: 5,
  WRITE: 6,
  LSTAT: 7,
  FSTAT: 8,
  OPENDIR: 11,
  READDIR: 12,
  REMOVE: 13,
  MKDIR: 14,
  STAT: 17,
  RENAME: 18,
  READLINK: 19,
  SYMLINK: 20,
  EXTENDED: 200,
} as const

export const DIRECTORY = 0o040755
export const EOF = 1
export const MISSING = 2
export const FAILURE = 4

/** The first string of a request: its path, or its handle. */
export const first = ({ body }: SftpPacket) => body.toString('utf8', 4, 4 + body.readUInt32BE(0))
const plain = (path: string) => path.replace(/^link\//, '')
export function second({ body }: SftpPacket): string {
  const at = 4 + body.readUInt32BE(0)
  return body.toString('utf8', at + 4, at + 4 + body.readUInt32BE(at))
}

/** What one kind of request is answered with; undefined leaves it to the honest rest. */
export type Lies = Readonly<Record<number, (asked: SftpPacket) => Buffer | undefined>>

/** A server whose files are in a map; `link/` is its home folder, by another name. */
export function server(files: Map<string, Buffer>, lies: Lies, extensions: readonly string[] = []): () => Answer {
  const attrs = (id: number, path: string) => {
    const content = files.get(path)
    if (content !== undefined) return packet(FXP.ATTRS, uint32(id), attributes({ size: content.length, mtime: 1 }))
    return path === '.' || path === 'dir'
      ? packet(FXP.ATTRS, uint32(id), attributes({ mode: DIRECTORY }))
      : status(id, MISSING)
  }
  const honest = (asked: SftpPacket): Buffer => {
    const { type, id, body } = asked
    if (type === FXP.INIT) return version(...extensions)
    if (type === FXR.OPEN) {
      const path = plain(first(asked))
      const flags = body.readUInt32BE(4 + body.readUInt32BE(0))
      if ((flags & 0x20) !== 0 && files.has(path)) return status(id, FAILURE)
      if ((flags & 0x08) !== 0) files.set(path, Buffer.alloc(0))
      return files.has(path) ? packet(FXP.HANDLE, uint32(id), text(path)) : status(id, MISSING)
    }
    if (type === FXR.LSTAT || type === FXR.STAT || type === FXR.FSTAT) return attrs(id, plain(first(asked)))
    if (type === FXR.READ) {
      const path = plain(first(asked))
      const at = 4 + Buffer.byteLength(path)
      const [position, length] = [body.readUInt32BE(at + 4), body.readUInt32BE(at + 8)]
      const piece = files.get(path)?.subarray(position, position + length) ?? Buffer.alloc(0)
      return piece.length === 0 ? status(id, EOF) : packet(FXP.DATA, uint32(id), text(piece))
    }
    if (type === FXR.WRITE) {
      const path = plain(first(asked))
      const at = 4 + Buffer.byteLength(path)
      const position = body.readUInt32BE(at + 4)
      const data = body.subarray(at + 12)
      const old = files.get(path) ?? Buffer.alloc(0)
      const content = Buffer.alloc(Math.max(old.length, position + data.length))
      old.copy(content)
      data.copy(content, position)
      files.set(path, content)
    }
    if (type === FXR.REMOVE) return status(id, files.delete(plain(first(asked))) ? 0 : MISSING)
    if (type === FXR.RENAME || type === FXR.EXTENDED) {
      const replaces = type === FXR.EXTENDED
      const pair = replaces ? { ...asked, body: body.subarray(4 + body.readUInt32BE(0)) } : asked
      const [from, to] = [plain(first(pair)), plain(second(pair))]
      const content = files.get(from)
      if (content === undefined) return status(id, MISSING)
      if (files.has(to) && !replaces) return status(id, FAILURE)
      files.delete(from)
      files.set(to, content)
    }
    return status(id, 0)
  }
  return () => (asked, send) => send(lies[asked.type]?.(asked) ?? honest(asked))
}

export interface Place {
  readonly local: string
  context(): TestRun
  run(request: TransferRequest): Promise<TransferData>
  /** Code and message of the error that it ends with. */
  fails(request: TransferRequest): Promise<{ readonly code: string; readonly message: string }>
}

export async function withServer(
  answers: () => Answer,
  use: (at: Place) => Promise<void>,
  timeoutMs = 20_000,
): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-hostile-transfer-'))
  const host = await startHostileSftp(answers)
  const local = join(folder, 'root', 'in')
  await mkdir(local, { recursive: true })
  const worker = await startWorker({ secrets: { PASSWORD: 'x' }, settings: { local_roots: [join(folder, 'root')] } })
  const target = sshTarget.parse({
    host: '127.0.0.1',
    port: host.port,
    user: 'anybody',
    password: 'env:PASSWORD',
    known_hosts: [host.knownHosts],
  })
  const context = () => operationContext(worker, target, { timeoutMs })
  const run = (request: TransferRequest) => sftpTransfer.run(context(), sftpTransfer.input.parse(request))
  try {
    await use({
      local,
      context,
      run,
      async fails(request) {
        const error = await run(request).then(
          (data) => assert.fail(`it succeeded: ${JSON.stringify(data)}`),
          (thrown: unknown) => thrown as { code: string; message: string },
        )
        return { code: String(error.code), message: error.message }
      },
    })
  } finally {
    await worker.close()
    await host.stop()
    await rm(folder, { recursive: true, force: true })
  }
}
