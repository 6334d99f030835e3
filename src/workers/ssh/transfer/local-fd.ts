import * as fs from 'node:fs'

/**
 * Files by their descriptors. By callback instead of `fs.promises`: a transfer of many small files makes ten of these
 * calls for each, and a file handle object costs more than the call.
 */

/** What tells whether a file has changed. */
export interface LocalFacts {
  readonly size: number
  /** Permission bits without the type. */
  readonly mode: number
  readonly mtimeMs: number
}

type Done<T> = (error: NodeJS.ErrnoException | null, value: T) => void

function ask<T>(call: (done: Done<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => call((error, value) => (error ? reject(error) : resolve(value))))
}

function localFacts(stats: fs.Stats): LocalFacts {
  const { size, mode, mtimeMs } = stats
  return { size, mode: mode & 0o7777, mtimeMs }
}

export const statFd = (fd: number) => ask<fs.Stats>((done) => fs.fstat(fd, done)).then(localFacts)
export const readFd = (fd: number, into: Buffer, length: number, position: number) =>
  ask<number>((done) => fs.read(fd, into, 0, length, position, done))
export const closeFd = (fd: number) => ask<void>((done) => fs.close(fd, done as Done<void>))
export const syncFd = (fd: number) => ask<void>((done) => fs.fsync(fd, done as Done<void>))
export const chmodFd = (fd: number, mode: number) => ask<void>((done) => fs.fchmod(fd, mode, done as Done<void>))
export const truncateFd = (fd: number, size: number) => ask<void>((done) => fs.ftruncate(fd, size, done as Done<void>))
/** Seconds since the epoch. */
export const touchFd = (fd: number, mtime: number) =>
  ask<void>((done) => fs.futimes(fd, mtime, mtime, done as Done<void>))

/** Writes all of it. */
export async function writeFd(fd: number, from: Buffer, length: number, position: number): Promise<void> {
  let written = 0
  while (written < length) {
    written += await ask<number>((done) =>
      fs.write(fd, from, written, length - written, position + written, done as Done<number>),
    )
  }
}
