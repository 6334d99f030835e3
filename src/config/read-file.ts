import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { systemCode } from '../core/errors.ts'

export type FileRefusal = 'missing' | 'unreadable' | 'not-regular' | 'too-big' | 'not-utf8'

export type ReadFileResult =
  | { readonly text: string; readonly mode: number }
  | { readonly refusal: FileRefusal; readonly why: string }

/**
 * Reads a small text file whole. Never blocks on a pipe or a device, never reads more than `maxBytes`, and says why it
 * refuses. `mode` are the permission bits of the file that was read, not of what the path names a moment later.
 */
export async function readTextFile(path: string, maxBytes: number): Promise<ReadFileResult> {
  let handle: FileHandle | undefined
  try {
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY)
    const stats = await handle.stat()
    if (stats.isDirectory()) return { refusal: 'not-regular', why: 'is a directory, not a file' }
    if (!stats.isFile()) return { refusal: 'not-regular', why: 'is not a regular file' }
    const bytes = await readAtMost(handle, maxBytes + 1)
    if (bytes.length > maxBytes) return { refusal: 'too-big', why: `is larger than ${maxBytes} bytes` }
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes), mode: stats.mode & 0o7777 }
  } catch (error) {
    if (error instanceof TypeError) return { refusal: 'not-utf8', why: 'is not UTF-8 text' }
    const code = systemCode(error) ?? 'unknown error'
    if (code === 'ENOENT') return { refusal: 'missing', why: 'does not exist' }
    return { refusal: 'unreadable', why: `cannot be read (${code})` }
  } finally {
    await handle?.close()
  }
}

async function readAtMost(handle: FileHandle, limit: number): Promise<Buffer> {
  const buffer = Buffer.alloc(limit)
  let length = 0
  while (length < limit) {
    const { bytesRead } = await handle.read(buffer, length, limit - length, length)
    if (bytesRead === 0) break
    length += bytesRead
  }
  return buffer.subarray(0, length)
}

/** A path of a setting or a reference: relative to the instance folder, `~/` for the home folder. */
export function resolveInFolder(folder: string, path: string, home: string = homedir()): string {
  if (path === '~') return home
  return path.startsWith('~/') ? join(home, path.slice(2)) : resolve(folder, path)
}
