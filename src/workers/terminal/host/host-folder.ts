import { createHash } from 'node:crypto'
import { lstatSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { mhvError, systemCode } from '../../../core/errors.ts'

/** What the kernel takes as the path of a socket, less a little: `sun_path` has 108 bytes on Linux and 104 on macOS. */
const MAX_SOCKET_PATH = 100

export interface HostFiles {
  readonly socket: string
  readonly token: string
  readonly log: string
}

export function hostFiles(folder: string): HostFiles {
  return { socket: join(folder, 'host.sock'), token: join(folder, 'token'), log: join(folder, 'host.log') }
}

/**
 * Folder of the PTY host of an instance: `terminal` in the instance folder; where the path of a socket in there is too
 * long for the kernel, one of this user's below XDG_RUNTIME_DIR or /tmp.
 */
export function hostFolder(instance: string, env: NodeJS.ProcessEnv = process.env): string {
  const inside = join(instance, 'terminal')
  if (Buffer.byteLength(hostFiles(inside).socket) <= MAX_SOCKET_PATH) return inside
  const name = `mahavishnu-${process.getuid?.() ?? 0}-${createHash('sha256').update(instance).digest('hex').slice(0, 16)}`
  const below = [env.XDG_RUNTIME_DIR, '/tmp'].filter((parent) => parent?.startsWith('/')) as string[]
  const short = below.map((parent) => join(parent, name))
  return short.find((folder) => Buffer.byteLength(hostFiles(folder).socket) <= MAX_SOCKET_PATH) ?? inside
}

/**
 * Makes the folder, for this user only. In /tmp anybody could have made it before.
 *
 * @throws MHV_TERMINAL_HOST_DOWN where it is not ours alone
 */
export function makeHostFolder(folder: string): void {
  try {
    mkdirSync(folder, { mode: 0o700 })
    return
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') {
      const why = error instanceof Error ? error.message : String(error)
      throw mhvError('MHV_TERMINAL_HOST_DOWN', `the folder ${folder} cannot be made: ${why}`, { cause: error })
    }
  }
  const { mode, uid } = lstatSync(folder)
  const isFolder = (mode & 0o170_000) === 0o040_000
  if (isFolder && uid === process.getuid?.() && (mode & 0o077) === 0) return
  throw mhvError(
    'MHV_TERMINAL_HOST_DOWN',
    `${folder} has to be a folder of this user that nobody else may enter (0700)`,
  )
}
