import type { Socket } from 'node:net'
import type { FileEntryWithStats, SFTPWrapper, Stats } from 'ssh2'
import type { SftpChannel, SftpDone } from '../sftp-channel.ts'
import { createBulkData } from './bulk-data.ts'

/** What a transfer needs to know of a remote file. Times in whole seconds: SFTP version 3 has no finer ones. */
export interface RemoteFacts {
  readonly kind: 'file' | 'directory' | 'symlink' | 'other'
  readonly size: number
  /** Permission bits without the type; undefined where the server told none. */
  readonly mode: number | undefined
  /** Seconds since the epoch. */
  readonly mtime: number
}

export interface RemoteEntry extends RemoteFacts {
  readonly name: string
}

/** The parts of ssh2's wrapper that are in no type: what the server said it can do. */
interface Abilities {
  readonly _extensions?: Readonly<Record<string, string>>
  readonly _client?: { readonly _sock?: Socket }
}

/**
 * Requests that are made in one go leave in one write: ssh2 makes a packet of each, and a write to the socket of each
 * packet.
 */
function together(socket: Socket | undefined): () => void {
  let held = false
  return () => {
    if (held || socket === undefined || socket.destroyed) return
    held = true
    socket.cork()
    setImmediate(() => {
      held = false
      socket.uncork()
    })
  }
}

/** Status codes of https://www.ietf.org/archive/id/draft-ietf-secsh-filexfer-02.txt, section 7. */
export const SFTP_EOF = 1
export const SFTP_NO_SUCH_FILE = 2
export const SFTP_PERMISSION_DENIED = 3
export const SFTP_FAILURE = 4

/** One SFTP session by promises. Errors of the server come as they are, with a numeric `code`. */
export interface RemoteFiles {
  open(path: string, flags: 'r' | 'r+' | 'wx', mode?: number): Promise<Buffer>
  close(handle: Buffer): Promise<void>
  /** Bytes read; 0 at the end of the file. */
  read(handle: Buffer, into: Buffer, length: number, position: number): Promise<number>
  /** The bytes are copied before this returns. */
  write(handle: Buffer, from: Buffer, length: number, position: number): Promise<void>
  /** Writes what stands in the buffer from HEAD_ROOM on. The buffer must be left alone until this settles. */
  writeBulk(handle: Buffer, buffer: Buffer, length: number, position: number): Promise<void>
  fstat(handle: Buffer): Promise<RemoteFacts>
  /** Sets what is given. Times in seconds. */
  fsetstat(handle: Buffer, facts: { readonly mode?: number; readonly mtime?: number }): Promise<void>
  /** To stable storage; only where `can.fsync`. */
  fsync(handle: Buffer): Promise<void>
  truncate(handle: Buffer, size: number): Promise<void>
  /** Undefined where there is nothing. */
  lstat(path: string): Promise<RemoteFacts | undefined>
  stat(path: string): Promise<RemoteFacts | undefined>
  /** The entries as the server names them, batch by batch. */
  list(path: string, take: (entries: readonly RemoteEntry[]) => void): Promise<void>
  readlink(path: string): Promise<string>
  realpath(path: string): Promise<string>
  symlink(target: string, path: string): Promise<void>
  mkdir(path: string, mode: number): Promise<void>
  unlink(path: string): Promise<void>
  /** Fails where something is in it. */
  rmdir(path: string): Promise<void>
  /** Fails where the target exists. */
  rename(from: string, to: string): Promise<void>
  /** Replaces the target atomically; only where `can.replace`. */
  replace(from: string, to: string): Promise<void>
  /** Free bytes of the file system that a path lies on; undefined where the server does not tell. */
  freeBytes(path: string): Promise<number | undefined>
  /** What the server said it can do. */
  readonly can: { readonly fsync: boolean; readonly replace: boolean }
  /** Ends the session. */
  end(): void
}

export function createRemoteFiles(channel: SftpChannel): RemoteFiles {
  const sftp: SFTPWrapper = channel.wrapper
  const { _extensions: extensions = {}, _client: client } = sftp as unknown as Abilities
  const hold = together(client?._sock)
  const bulk = createBulkData(sftp)
  const has = (name: string) => Object.hasOwn(extensions, name)
  const ask = <T = void>(request: (done: SftpDone<T>) => void): Promise<T> => {
    hold()
    return channel.ask(request)
  }
  /** ssh2's types want `null` where there is none, and its code gives `undefined`. */
  const plain = (done: SftpDone<void>) => (error?: Error | null) => done(error, undefined)

  return {
    can: { fsync: has('fsync@openssh.com'), replace: has('posix-rename@openssh.com') },
    open: (path, flags, mode) =>
      ask((done: SftpDone<Buffer>) => {
        if (mode === undefined) sftp.open(path, flags, done)
        else sftp.open(path, flags, { mode } as never, done)
      }),
    close: (handle) => ask((done) => sftp.close(handle, plain(done))),
    read: async (handle, into, length, position) => {
      try {
        return await ask((done: SftpDone<number>) => bulk.read(handle, into, length, position, done))
      } catch (error) {
        if (codeOf(error) === SFTP_EOF) return 0
        throw error
      }
    },
    write: (handle, from, length, position) =>
      ask((done) => sftp.write(handle, from, 0, length, position, plain(done))),
    writeBulk: (handle, buffer, length, position) =>
      ask((done) => bulk.write(handle, buffer, length, position, plain(done))),
    fstat: async (handle) => factsOf(await ask((done: SftpDone<Stats>) => sftp.fstat(handle, done as never))),
    fsetstat: (handle, { mode, mtime }) =>
      ask((done) => {
        const times = mtime === undefined ? {} : { atime: mtime, mtime }
        sftp.fsetstat(handle, { ...(mode === undefined ? {} : { mode }), ...times } as never, plain(done))
      }),
    fsync: (handle) => ask((done) => sftp.ext_openssh_fsync(handle, plain(done))),
    truncate: (handle, size) => ask((done) => sftp.fsetstat(handle, { size } as never, plain(done))),
    lstat: (path) => orMissing(() => ask((done: SftpDone<Stats>) => sftp.lstat(path, done as never))),
    stat: (path) => orMissing(() => ask((done: SftpDone<Stats>) => sftp.stat(path, done as never))),
    async list(path, take) {
      const handle = await ask((done: SftpDone<Buffer>) => sftp.opendir(path, done))
      try {
        for (;;) {
          // By handle ssh2 gives one answer of the server at a time.
          const entries = await ask((done: SftpDone<FileEntryWithStats[]>) =>
            sftp.readdir(handle as unknown as string, done as never),
          ).catch((error: unknown) => {
            if (codeOf(error) === SFTP_EOF) return undefined
            throw error
          })
          if (!Array.isArray(entries)) return
          take(entries.map(({ filename, attrs }) => ({ name: filename, ...factsOf(attrs as Stats) })))
        }
      } finally {
        await ask((done) => sftp.close(handle, plain(done))).catch(() => undefined)
      }
    },
    readlink: (path) => ask((done: SftpDone<string>) => sftp.readlink(path, done as never)),
    realpath: (path) => ask((done: SftpDone<string>) => sftp.realpath(path, done as never)),
    symlink: (target, path) => ask((done) => sftp.symlink(target, path, plain(done))),
    mkdir: (path, mode) => ask((done) => sftp.mkdir(path, { mode } as never, plain(done))),
    unlink: (path) => ask((done) => sftp.unlink(path, plain(done))),
    rmdir: (path) => ask((done) => sftp.rmdir(path, plain(done))),
    rename: (from, to) => ask((done) => sftp.rename(from, to, plain(done))),
    replace: (from, to) => ask((done) => sftp.ext_openssh_rename(from, to, plain(done))),
    async freeBytes(path) {
      if (!has('statvfs@openssh.com')) return undefined
      const facts = await ask((done: SftpDone<{ f_bavail: number; f_frsize: number; f_favail: number }>) =>
        sftp.ext_openssh_statvfs(path, done as never),
      ).catch(() => undefined)
      if (facts === undefined) return undefined
      // Without an inode there is room for nothing, whatever is free.
      return Number(facts.f_favail) === 0 ? 0 : Number(facts.f_bavail) * Number(facts.f_frsize)
    },
    end: () => channel.close(),
  }
}

async function orMissing(ask: () => Promise<Stats>): Promise<RemoteFacts | undefined> {
  try {
    return factsOf(await ask())
  } catch (error) {
    if (codeOf(error) === SFTP_NO_SUCH_FILE) return undefined
    throw error
  }
}

/** The status code that the server sent; undefined for an error that is not its own. */
export function codeOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined
  return typeof error.code === 'number' ? error.code : undefined
}

const S_IFMT = 0o170000
const KINDS: ReadonlyMap<number, RemoteFacts['kind']> = new Map([
  [0o100000, 'file'],
  [0o040000, 'directory'],
  [0o120000, 'symlink'],
])

/** Every attribute is optional in the protocol, so a server may send none of them. */
function factsOf({ mode, size, mtime }: Partial<Stats>): RemoteFacts {
  const kind = mode === undefined ? 'other' : (KINDS.get(mode & S_IFMT) ?? 'other')
  return {
    kind,
    size: Number.isSafeInteger(size) && (size as number) >= 0 ? (size as number) : 0,
    mode: mode === undefined ? undefined : mode & 0o7777,
    mtime: mtime ?? 0,
  }
}
