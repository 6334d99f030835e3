import { mhvError } from '../../../core/errors.ts'
import { hostileName } from '../../../core/local-files.ts'
import type { RemoteFileStat, RemoteFs } from '../../../core/ports.ts'
import type { OpenFiles } from '../files/on-files.ts'
import { joinRemote } from '../files/remote-path.ts'
import { sftpError } from '../files/sftp-errors.ts'
import { withSftp } from '../open-sftp.ts'
import type { SshPool } from '../pool.ts'
import { createRemoteFiles, type RemoteFacts } from '../transfer/remote-files.ts'
import { targetContext } from './target-context.ts'

/** Largest piece that is read or written by one call, in bytes: it lies in memory, and may go to another process. */
const MAX_PIECE = 8 * 1024 * 1024
/** Bytes of one request: what every server takes (OpenSSH: 256 KiB less its header). */
const REQUEST_BYTES = 32 * 1024
/** Requests of one call on their way at once. */
const IN_FLIGHT = 16
/** Most entries of a folder that are listed. */
const MAX_ENTRIES = 100_000

/** Files of a host for other workers, over SFTP. Every call is one SFTP session on a shared connection. */
export function createRemoteFs(pool: SshPool): RemoteFs {
  async function on<T>(name: string, signal: AbortSignal, act: (open: OpenFiles) => Promise<T>): Promise<T> {
    const { target, settings } = await targetContext(pool, name)
    const call = { target: target.address, settings, secrets: pool.context.secrets, signal }
    return withSftp(pool, call, (sftp, { endpoint }) => act({ files: createRemoteFiles(sftp), endpoint }))
  }

  async function ask<T>(
    { files, endpoint }: OpenFiles,
    doing: string,
    path: string,
    act: () => Promise<T>,
    writes = false,
  ): Promise<T> {
    checkPath(path)
    try {
      return await act()
    } catch (error) {
      throw await sftpError(error, { doing, path, endpoint }, files, { writes })
    }
  }

  return {
    stat: (target, path, signal) =>
      on(target, signal, async (open) => {
        const facts = await ask(open, 'look at', path, () => open.files.lstat(path))
        if (facts === undefined) {
          throw mhvError('MHV_SSH_SFTP_NOT_FOUND', `${open.endpoint}: there is no ${JSON.stringify(path)}`)
        }
        return statOf(path, facts)
      }),
    list: (target, path, signal) =>
      on(target, signal, async (open) => {
        const found: RemoteFileStat[] = []
        await ask(open, 'list', path, () =>
          open.files.list(path, (entries) => {
            for (const entry of entries) {
              if (entry.name === '.' || entry.name === '..') continue
              if (hostileName(entry.name) !== undefined) {
                throw mhvError('MHV_SSH_SFTP_HOSTILE', `${open.endpoint}: a name that no file system has`)
              }
              if (found.length === MAX_ENTRIES) {
                throw mhvError('MHV_INPUT_INVALID', `${JSON.stringify(path)} holds more than ${MAX_ENTRIES} entries`)
              }
              found.push(statOf(joinRemote(path, entry.name), entry))
            }
          }),
        )
        return found
      }),
    read: (target, path, offset, bytes, signal) =>
      on(target, signal, (open) => {
        checkPiece(offset, bytes)
        return ask(open, 'read', path, () => readPiece(open, path, offset, bytes))
      }),
    write: (target, path, offset, chunk, signal) =>
      on(target, signal, (open) => {
        checkPiece(offset, chunk.byteLength)
        return ask(open, 'write', path, () => writePiece(open, path, offset, chunk), true)
      }),
    rename: (target, from, to, signal) =>
      on(target, signal, (open) => {
        checkPath(to)
        const { files } = open
        return ask(open, 'rename', from, () => (files.can.replace ? files.replace(from, to) : files.rename(from, to)))
      }),
    remove: (target, path, signal) =>
      on(target, signal, (open) =>
        ask(open, 'remove', path, async () => {
          const facts = await open.files.lstat(path)
          await (facts?.kind === 'directory' ? open.files.rmdir(path) : open.files.unlink(path))
        }),
      ),
  }
}

function statOf(path: string, { kind, size, mode, mtime }: RemoteFacts): RemoteFileStat {
  return { path, kind, bytes: size, mode: mode ?? 0, modified: mtime * 1000 }
}

function checkPath(path: string): void {
  if (path === '' || path.includes('\0')) throw mhvError('MHV_INPUT_INVALID', 'a path on a host has no NUL character')
}

function checkPiece(offset: number, bytes: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0) throw mhvError('MHV_INPUT_INVALID', `${offset} is no offset`)
  if (!Number.isSafeInteger(bytes) || bytes < 0 || bytes > MAX_PIECE) {
    throw mhvError('MHV_INPUT_INVALID', `a piece has 0 to ${MAX_PIECE} bytes, not ${bytes}`)
  }
}

/** Cuts `[0, bytes)` into requests and has some of them on their way at once. */
async function inRequests(bytes: number, act: (at: number, length: number) => Promise<void>): Promise<void> {
  let next = 0
  const lane = async () => {
    while (next < bytes) {
      const at = next
      next += REQUEST_BYTES
      await act(at, Math.min(REQUEST_BYTES, bytes - at))
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, lane))
}

/** Shorter than asked for only at the end of the file. */
async function readPiece({ files }: OpenFiles, path: string, offset: number, bytes: number): Promise<Uint8Array> {
  const handle = await files.open(path, 'r')
  try {
    const into = Buffer.alloc(bytes)
    let end = bytes
    await inRequests(bytes, async (at, length) => {
      let done = 0
      while (done < length) {
        const part = into.subarray(at + done, at + length)
        const read = await files.read(handle, part, part.length, offset + at + done)
        if (read === 0) {
          end = Math.min(end, at + done)
          return
        }
        done += read
      }
    })
    // Of its own, not of a shared pool: it may be cloned into another process.
    return Uint8Array.from(into.subarray(0, end))
  } finally {
    await files.close(handle).catch(() => undefined)
  }
}

async function writePiece({ files }: OpenFiles, path: string, offset: number, chunk: Uint8Array): Promise<void> {
  const there = await files.stat(path)
  const handle = there === undefined ? await files.open(path, 'wx', 0o600) : await files.open(path, 'r+')
  const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  try {
    await inRequests(bytes.length, (at, length) => files.write(handle, bytes.subarray(at), length, offset + at))
  } catch (error) {
    await files.close(handle).catch(() => undefined)
    throw error
  }
  // A server may tell only now that the bytes found no room.
  await files.close(handle)
}
