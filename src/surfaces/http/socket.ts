import { chmod, lstat, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { mhvError, systemCode } from '../../core/errors.ts'

/**
 * Longest path of a Unix socket in bytes, its last NUL not counted (`sun_path`: 108 bytes on Linux, 104 elsewhere). A
 * longer one would be cut, and somebody else's.
 */
const MOST_BYTES = process.platform === 'linux' ? 107 : 103

const SOCKET_NAME = 'mahavishnu.sock'

function runFolder(folder: string): string {
  return join(folder, 'run')
}

/** Where the socket of an instance lies when the path is short enough. */
function usualPath(folder: string): string {
  return join(runFolder(folder), SOCKET_NAME)
}

/** Names the socket of an instance whose own path is too long. */
function pointerFile(folder: string): string {
  return join(runFolder(folder), 'socket-path')
}

export interface SocketPlace {
  readonly path: string
  /** Lets only this user in; called when the socket is there. */
  secure(): Promise<void>
  remove(): Promise<void>
}

/**
 * Makes the place for the socket of an instance: a folder that only this user may enter, with nothing in the way. Only
 * for a process that holds the folder's lock: then whatever is there is left over from one that is gone.
 */
export async function makeSocketPlace(folder: string): Promise<SocketPlace> {
  const run = runFolder(folder)
  await mkdir(run, { recursive: true, mode: 0o700 })
  await assertOwn(run)
  await chmod(run, 0o700)
  await removeLeftOver(folder)
  const usual = usualPath(folder)
  const path = fits(usual) ? usual : await makeElsewhere(folder)
  return {
    path,
    secure: () => chmod(path, 0o600),
    async remove() {
      await rm(path, { force: true })
      if (path === usual) return
      await rm(pointerFile(folder), { force: true })
      await rm(dirname(path), { recursive: true, force: true })
    },
  }
}

function fits(path: string): boolean {
  return Buffer.byteLength(path) <= MOST_BYTES
}

async function makeElsewhere(folder: string): Promise<string> {
  // mkdtemp makes it for this user alone.
  const path = join(await mkdtemp(join(tmpdir(), 'mahavishnu-')), SOCKET_NAME)
  if (!fits(path)) {
    await rm(dirname(path), { recursive: true, force: true })
    throw mhvError(
      'MHV_INSTANCE_INVALID',
      `there is no folder for the socket with a path of ${MOST_BYTES} bytes or less`,
      {
        remedy: 'Set TMPDIR to a folder with a shorter path.',
      },
    )
  }
  await writeFile(pointerFile(folder), path, { mode: 0o600 })
  return path
}

async function removeLeftOver(folder: string): Promise<void> {
  await rm(usualPath(folder), { force: true })
  const elsewhere = await pointedTo(folder)
  await rm(pointerFile(folder), { force: true })
  if (elsewhere === null || !dirname(elsewhere).startsWith(join(tmpdir(), 'mahavishnu-'))) return
  await rm(elsewhere, { force: true }).catch(() => undefined)
}

async function pointedTo(folder: string): Promise<string | null> {
  try {
    return await readFile(pointerFile(folder), 'utf8')
  } catch {
    return null
  }
}

/**
 * The socket of an instance, when there is one that belongs to this user; null otherwise. Whether anybody answers there
 * is another question.
 */
export async function findSocket(folder: string): Promise<string | null> {
  const path = fits(usualPath(folder)) ? usualPath(folder) : await pointedTo(folder)
  if (path === null) return null
  try {
    const stat = await lstat(path)
    return stat.isSocket() && isOwn(stat.uid) ? path : null
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(systemCode(error) ?? '')) return null
    throw error
  }
}

async function assertOwn(path: string): Promise<void> {
  const stat = await lstat(path)
  if (stat.isDirectory() && isOwn(stat.uid)) return
  throw mhvError('MHV_INSTANCE_INVALID', `${path} is no folder of this user`, { remedy: 'Remove it; it is made anew.' })
}

function isOwn(uid: number): boolean {
  return process.getuid === undefined || process.getuid() === uid
}
