import { MhvError } from '../../../core/errors.ts'
import { type LocalFolder, type LocalRoots, openLocalFolder } from '../../../core/local-files.ts'

/** A folder of this machine that is opened when something in it is needed, and closed when nothing is any more. */
export interface FolderRef {
  readonly path: string
  /** Calls back with the open folder, which stays open for as long as it takes. */
  use<T>(work: (folder: LocalFolder) => Promise<T>): Promise<T>
}

/**
 * Folders by their paths: a tree may have more of them than this process may have descriptors. Each is opened below the
 * roots, whatever has become of its name meanwhile.
 *
 * @param made is told of each folder that comes into being
 */
export function createFolders(roots: LocalRoots, made: () => void): (path: string, create: boolean) => FolderRef {
  const open = new Map<string, { readonly folder: Promise<LocalFolder>; users: number }>()

  async function use<T>(path: string, create: boolean, work: (folder: LocalFolder) => Promise<T>): Promise<T> {
    let entry = open.get(path)
    if (entry === undefined) {
      entry = { folder: openLocalFolder(path, roots, create && made), users: 0 }
      open.set(path, entry)
    }
    entry.users += 1
    try {
      return await work(await entry.folder)
    } finally {
      entry.users -= 1
      if (entry.users === 0) {
        open.delete(path)
        await entry.folder.then(
          (folder) => folder.close(),
          () => undefined,
        )
      }
    }
  }

  return (path, create) => ({ path, use: (work) => use(path, create, work) })
}

/** The folder that a path leads to; undefined where there is nothing, or something else. Throws what else is wrong. */
export async function folderIfThere(path: string, roots: LocalRoots): Promise<LocalFolder | undefined> {
  try {
    return await openLocalFolder(path, roots)
  } catch (error) {
    if (error instanceof MhvError && isNoFolder(error)) return undefined
    throw error
  }
}

function isNoFolder({ code, details }: MhvError): boolean {
  return code === 'MHV_LOCAL_NOT_FOUND' || details?.system_code === 'ENOTDIR' || details?.system_code === 'ELOOP'
}
