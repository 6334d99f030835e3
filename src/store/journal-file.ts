import { open, stat } from 'node:fs/promises'
import { type MhvError, mhvError, systemCode } from '../core/errors.ts'

/**
 * The journal's files, looked at from outside. Once SQLite has the journal open, nothing in this process may open and
 * close the same file by other means: on POSIX that drops SQLite's locks on it.
 */

function folderError(thrown: unknown, path: string): MhvError {
  const message = `journal ${path}: ${thrown instanceof Error ? thrown.message : String(thrown)}`
  const full = systemCode(thrown) === 'ENOSPC' || systemCode(thrown) === 'EDQUOT'
  return mhvError(full ? 'MHV_JOURNAL_FULL' : 'MHV_INSTANCE_INVALID', message, { details: { path }, cause: thrown })
}

/** Makes an empty journal that only its owner may read, unless there is one. SQLite gives its other files that mode. */
export async function createFile(path: string): Promise<void> {
  try {
    await (await open(path, 'ax', 0o600)).close()
  } catch (error) {
    if (systemCode(error) !== 'EEXIST') throw folderError(error, path)
    await requireFile(path)
  }
}

/** @throws MHV_INSTANCE_INVALID where there is no journal, or something that is no file */
export async function requireFile(path: string): Promise<void> {
  const found = await stat(path).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOENT') throw folderError(error, path)
  })
  if (found?.isFile() === false) throw folderError(new Error('it is not a file'), path)
  if (found === undefined) {
    throw mhvError('MHV_INSTANCE_INVALID', `there is no journal ${path}: nothing was run in this instance folder yet`, {
      remedy: 'Check --folder and MAHAVISHNU_HOME, or run something first.',
      details: { path },
    })
  }
}

/** Bytes of the journal and of the files that SQLite keeps beside it. */
export async function bytesOnDisk(path: string): Promise<number> {
  const sizes = ['', '-wal', '-shm'].map((suffix) =>
    stat(path + suffix).then(
      ({ size }) => size,
      () => 0,
    ),
  )
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}
