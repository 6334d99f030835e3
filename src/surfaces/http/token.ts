import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { MhvError, mhvError, systemCode } from '../../core/errors.ts'
import type { HttpToken } from './guard.ts'

/** Name of the one token that there is. Its principal is `token:default`. */
const NAME = 'default'

/** A token that somebody wrote by hand must not be guessed. */
const LEAST_LENGTH = 32

export function tokenFile(folder: string): string {
  return join(folder, 'http.token')
}

/**
 * The token of an instance, made at the first start. Only for a process that holds the folder's lock. Throws
 * MHV_INSTANCE_INVALID where the file is somebody else's, could be read by others, or has no token.
 */
export async function httpToken(folder: string): Promise<HttpToken> {
  const file = tokenFile(folder)
  try {
    return { name: NAME, value: (await makeToken(file)) ?? (await readToken(file)) }
  } catch (error) {
    if (error instanceof MhvError || systemCode(error) === undefined) throw error
    throw unusable(file, `cannot be used (${systemCode(error)})`, 'Make it a file of this user with mode 0600.', error)
  }
}

async function makeToken(file: string): Promise<string | null> {
  let handle: FileHandle
  try {
    handle = await open(file, 'wx', 0o600)
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return null
    throw error
  }
  try {
    const value = `mhv_${randomBytes(32).toString('base64url')}`
    await handle.writeFile(`${value}\n`)
    await handle.sync()
    return value
  } finally {
    await handle.close()
  }
}

async function readToken(file: string): Promise<string> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const stat = await handle.stat()
    if (!stat.isFile()) throw unusable(file, 'is no regular file', 'Remove it: a new one is made at the next start.')
    if ((stat.mode & 0o077) !== 0) {
      throw unusable(
        file,
        'can be read by others',
        `Remove it, since others may know it: a new one is made at the next start.`,
      )
    }
    if (process.getuid !== undefined && stat.uid !== process.getuid()) {
      throw unusable(file, "is another user's", 'Remove it: a new one is made at the next start.')
    }
    const value = (await handle.readFile('utf8')).trim()
    if (!new RegExp(`^[\\x21-\\x7e]{${LEAST_LENGTH},}$`).test(value)) {
      throw unusable(file, 'has no token', 'Remove it: a new one is made at the next start.')
    }
    return value
  } finally {
    await handle.close()
  }
}

function unusable(file: string, why: string, remedy: string, cause?: unknown): MhvError {
  return mhvError('MHV_INSTANCE_INVALID', `${file} ${why}`, { remedy, cause })
}
