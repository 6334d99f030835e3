import { constants } from 'node:fs'
import {
  type FileHandle,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  realpath,
  rename,
  rmdir,
  symlink,
  unlink,
} from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path'
import { MhvError, mhvError, outOfDescriptors, systemCode } from './errors.ts'

/**
 * Files of this machine that operations may read and write: only below allowed folders (roots), whatever names a caller
 * or a far side gives. A folder is opened once, component by component and without following links, and everything in
 * it is then reached through its descriptor: a link that is put in the place of a folder meanwhile leads nowhere.
 */

/** Where local files may lie. */
export interface LocalRoots {
  /** Absolute; relative paths start in the first one, which is made (0700) when it is missing. */
  readonly folders: readonly string[]
  /** What no root opens up, unless the root itself lies in it: the instance's own folder, with journal and token. */
  readonly closed?: string
  /** Name of the setting that lists them, for messages. */
  readonly setting: string
}

/** Whether missing folders are made; a function is told the path of each that was, also where the rest fails. */
type Create = boolean | ((path: string) => void)

/** An open folder. Names are single components. Nothing in it follows a link. */
export interface LocalFolder {
  /** Resolved, for messages and results. */
  readonly path: string
  /** Names in it, in no order, as bytes: a name need not be UTF-8. */
  names(): Promise<readonly Buffer[]>
  /** Facts of an entry itself, never of what a link points at; undefined where there is none. */
  stat(name: string): Promise<LocalStat | undefined>
  /** A folder in it. @param create makes it (0777 less the umask) when it is missing */
  folder(name: string, create?: Create): Promise<LocalFolder>
  /** A regular file for reading; anything else is refused without waiting for it. */
  read(name: string): Promise<FileHandle>
  /** A new file (0600) for writing and reading; fails where the name is taken, unless `again` opens what is there. */
  create(name: string, again?: boolean): Promise<FileHandle>
  /** Puts an entry of this folder in the place of another, atomically. */
  rename(from: string, to: string): Promise<void>
  /** The same where the other name is free; false, and nothing done, where it is taken. */
  placeNew(from: string, to: string): Promise<boolean>
  /** Makes a symbolic link that says this, in the place of whatever has the name. */
  link(name: string, target: string): Promise<void>
  remove(name: string): Promise<void>
  /**
   * A path by which this process reaches an entry for as long as the folder is open. Only for calls that do not follow
   * a link that is the entry itself.
   */
  way(name: string): string
  /** Makes what was done to the folder's names durable. */
  sync(): Promise<void>
  close(): Promise<void>
}

export interface LocalStat {
  readonly kind: 'file' | 'directory' | 'symlink' | 'other'
  readonly bytes: number
  /** Permission bits. */
  readonly mode: number
  /** Milliseconds since the epoch. */
  readonly modified: number
}

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = constants
const THROUGH_DESCRIPTORS = process.platform === 'linux'
/** Longest name of an entry, in bytes, on the file systems that matter. */
const MAX_NAME_BYTES = 255

/**
 * Opens the folder in which a path lies, and gives the name of its last component.
 *
 * Throws MHV_LOCAL_OUTSIDE_ROOTS, MHV_LOCAL_NOT_FOUND, MHV_LOCAL_FAILED, MHV_INPUT_INVALID.
 *
 * @param create makes the missing folders on the way
 */
export async function openParent(
  path: string,
  roots: LocalRoots,
  create: Create = false,
): Promise<{ readonly folder: LocalFolder; readonly name: string }> {
  const full = absolute(path, roots)
  const name = basename(full)
  if (name === '') throw outside(path, roots)
  return { folder: await openFrom(path, dirname(full), roots, create), name }
}

/** Opens a folder below the roots. Throws as `openParent` does. */
export async function openLocalFolder(path: string, roots: LocalRoots, create: Create = false): Promise<LocalFolder> {
  return openFrom(path, absolute(path, roots), roots, create)
}

/**
 * Whether a name that a far side gave may become an entry of a folder here: one component, no `.` or `..`, nothing that
 * a file system cuts or refuses. What is wrong with it, or undefined.
 */
export function hostileName(name: string): string | undefined {
  if (name === '') return 'is empty'
  if (name === '.' || name === '..') return 'leads to another folder'
  if (name.includes('/') || (sep === '\\' && name.includes('\\'))) return 'has a path separator in it'
  if (name.includes('\0')) return 'has a NUL character in it'
  if (Buffer.byteLength(name) > MAX_NAME_BYTES) return `is longer than ${MAX_NAME_BYTES} bytes`
  return undefined
}

/**
 * Name that a link has before it takes its place; such names are known for what no transfer has finished.
 *
 * @param fd of the open folder: nobody else of this process has it
 */
export function tempLinkName(fd: number): string {
  return `.link.mahavishnu-p${process.pid}f${fd}.part`
}

function absolute(path: string, { folders }: LocalRoots): string {
  if (path.includes('\0')) throw mhvError('MHV_INPUT_INVALID', 'a local path must not contain a NUL character')
  return resolve(folders[0] ?? sep, path)
}

/** The root that a path lies in by its name; the longest where several do. */
function rootOf(full: string, { folders }: LocalRoots): string | undefined {
  return folders.filter((root) => within(full, root)).sort((one, other) => other.length - one.length)[0]
}

function within(path: string, folder: string): boolean {
  const way = relative(folder, path)
  return way === '' || (way !== '..' && !way.startsWith(`..${sep}`) && !isAbsolute(way))
}

async function openFrom(asked: string, full: string, roots: LocalRoots, create: Create): Promise<LocalFolder> {
  const root = rootOf(full, roots)
  if (root === undefined) throw outside(asked, roots)
  const realRoot = await openedRoot(root, root === roots.folders[0])
  // Links of the way are allowed where they stay inside: resolved first, then walked without following any.
  const { real, missing } = await resolvedAsFarAsItIs(full)
  if (!within(real, realRoot)) throw outside(asked, roots)
  const closed = await realClosed(roots)
  if (closed !== undefined && within(real, closed) && !within(realRoot, closed)) throw outside(asked, roots)
  if (missing.length > 0 && create === false) throw notFound(full)
  const existing = relative(realRoot, real).split(sep).filter(Boolean)
  let folder = await openFolder(realRoot, realRoot)
  for (const name of [...existing, ...missing]) {
    const above = folder
    folder = await above.folder(name, create).finally(above.close)
  }
  return folder
}

/** Where a root really lies. The first one is made when it is missing. */
async function openedRoot(root: string, make: boolean): Promise<string> {
  try {
    const there = await ifThere(realpath(root))
    if (there !== undefined) return there
    if (make) await mkdir(root, { recursive: true, mode: 0o700 })
    return await realpath(root)
  } catch (error) {
    throw localError(error, root)
  }
}

/** Where the closed folder really lies; undefined where there is none. One that cannot be told closes everything. */
async function realClosed({ closed }: LocalRoots): Promise<string | undefined> {
  if (closed === undefined) return undefined
  return ifThere(realpath(closed)).catch((error: unknown) => {
    throw localError(error, closed)
  })
}

/** What a call gives, or undefined where the file system says that there is no such thing, and only then. */
async function ifThere<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
}

async function resolvedAsFarAsItIs(path: string): Promise<{ real: string; missing: string[] }> {
  const missing: string[] = []
  for (let at = path; ; at = dirname(at)) {
    try {
      return { real: await realpath(at), missing }
    } catch (error) {
      if (systemCode(error) !== 'ENOENT' || dirname(at) === at) throw localError(error, at)
      // A link that leads nowhere is no missing folder: making it would make what it points at.
      if (await isThere(at)) throw localError(error, at)
      missing.unshift(basename(at))
    }
  }
}

/** Whether a name is taken, by a link that leads nowhere as well. */
async function isThere(path: string): Promise<boolean> {
  try {
    return (await ifThere(lstat(path))) !== undefined
  } catch (error) {
    throw localError(error, path)
  }
}

async function openFolder(way: string, path: string): Promise<LocalFolder> {
  let handle: FileHandle
  try {
    handle = await open(way, O_RDONLY | O_DIRECTORY | O_NOFOLLOW)
  } catch (error) {
    throw localError(error, path)
  }
  // Elsewhere than on Linux nothing can be reached through a descriptor: there, only the last component is sure.
  const at = (name: string) => (THROUGH_DESCRIPTORS ? `/proc/self/fd/${handle.fd}/${name}` : join(path, name))
  const shown = (name: string) => join(path, name)

  async function attempt<T>(name: string, act: () => Promise<T>): Promise<T> {
    const hostile = hostileName(name)
    if (hostile !== undefined) throw mhvError('MHV_INPUT_INVALID', `${JSON.stringify(name)} ${hostile}`)
    try {
      return await act()
    } catch (error) {
      throw localError(error, shown(name))
    }
  }

  const self: LocalFolder = {
    path,
    async names() {
      try {
        return await readdir(THROUGH_DESCRIPTORS ? `/proc/self/fd/${handle.fd}` : path, { encoding: 'buffer' })
      } catch (error) {
        throw localError(error, path)
      }
    },
    stat: (name) =>
      attempt(name, async () => {
        const facts = await ifThere(lstat(at(name)))
        if (facts === undefined) return undefined
        const { size, mode, mtimeMs } = facts
        return { kind: kindOf(facts), bytes: size, mode: mode & 0o7777, modified: mtimeMs }
      }),
    folder: (name, create: Create = false) =>
      attempt(name, async () => {
        if (create !== false && (await makeFolder(at(name))) && typeof create === 'function') create(shown(name))
        return openFolder(at(name), shown(name))
      }),
    read: (name) =>
      attempt(name, async () => {
        // A pipe without a writer would hold an open without O_NONBLOCK for ever.
        const file = await open(at(name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
        const facts = await file.stat()
        if (facts.isFile()) return file
        await file.close()
        throw notAFile(shown(name), kindOf(facts))
      }),
    create: (name, again = false) =>
      attempt(name, async () => {
        const file = await open(at(name), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | (again ? 0 : O_EXCL), 0o600)
        const facts = await file.stat()
        // Another name of the same file would be written as well.
        if (facts.isFile() && facts.nlink === 1) return file
        await file.close()
        throw notAFile(shown(name), facts.isFile() ? 'file with several names' : kindOf(facts))
      }),
    rename: (from, to) => attempt(to, () => rename(at(from), at(to))),
    placeNew: (from, to) =>
      attempt(to, async () => {
        // Unlike a rename, a second name fails where there is one.
        const taken = await link(at(from), at(to)).then(
          () => false,
          (error: unknown) => {
            if (systemCode(error) !== 'EEXIST') throw error
            return true
          },
        )
        await unlink(at(from))
        return !taken
      }),
    link: (name, target) =>
      attempt(name, async () => {
        // Under a name of its own first: a link cannot be made in the place of another.
        const temp = at(tempLinkName(handle.fd))
        await ifThere(unlink(temp))
        await symlink(target, temp)
        await rename(temp, at(name)).catch(async (error: unknown) => {
          await unlink(temp)
          throw error
        })
      }),
    way(name) {
      const hostile = hostileName(name)
      if (hostile !== undefined) throw mhvError('MHV_INPUT_INVALID', `${JSON.stringify(name)} ${hostile}`)
      return at(name)
    },
    remove: (name) =>
      attempt(name, async () => {
        const facts = await lstat(at(name))
        await (facts.isDirectory() ? rmdir(at(name)) : unlink(at(name)))
      }),
    async sync() {
      try {
        await handle.sync()
      } catch (error) {
        throw localError(error, path)
      }
    },
    close: () => handle.close(),
  }
  return self
}

/** False where there is something of that name already. */
async function makeFolder(path: string): Promise<boolean> {
  try {
    await mkdir(path)
    return true
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false
    throw error
  }
}

interface Kinds {
  isFile(): boolean
  isDirectory(): boolean
  isSymbolicLink(): boolean
}

function kindOf(facts: Kinds): LocalStat['kind'] {
  if (facts.isFile()) return 'file'
  if (facts.isDirectory()) return 'directory'
  return facts.isSymbolicLink() ? 'symlink' : 'other'
}

function outside(path: string, { folders, setting }: LocalRoots): MhvError {
  const roots = folders.length === 0 ? 'there are none' : folders.join(', ')
  return mhvError('MHV_LOCAL_OUTSIDE_ROOTS', `${JSON.stringify(path)} lies in no folder of ${setting} (${roots})`, {
    details: { path, setting, roots: folders },
  })
}

function notFound(path: string, cause?: unknown): MhvError {
  return mhvError('MHV_LOCAL_NOT_FOUND', `there is no ${JSON.stringify(path)} on this machine`, {
    details: { path },
    cause,
  })
}

function notAFile(path: string, kind: string): MhvError {
  return mhvError('MHV_LOCAL_NOT_A_FILE', `${JSON.stringify(path)} is a ${kind}, not a regular file`, {
    details: { path, kind },
  })
}

/** What went wrong with a local file, by the system's code. Errors that are ours already are passed on. */
export function localError(error: unknown, path: string): MhvError {
  if (error instanceof MhvError) return error
  const code = systemCode(error)
  if (code === 'ENOENT') return notFound(path, error)
  const details = { path, system_code: code }
  const shown = JSON.stringify(path)
  if (code === 'ELOOP' || code === 'ENOTDIR')
    return mhvError('MHV_LOCAL_FAILED', `a part of ${shown} is a link or no folder, and links are not followed`, {
      details,
      cause: error,
    })
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return mhvError('MHV_LOCAL_NO_SPACE', `there is no room left for ${shown}`, { details, cause: error })
  return (
    outOfDescriptors(error, path) ??
    mhvError('MHV_LOCAL_FAILED', `${shown}: ${code ?? 'unknown error'}`, { details, cause: error })
  )
}
