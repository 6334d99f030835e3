import { sftpError } from '../files/sftp-errors.ts'
import { badTarget } from './errors.ts'
import { splitRemote } from './names.ts'
import type { RemoteFiles } from './remote-files.ts'
import type { Item, Transfer } from './types.ts'

/**
 * Makes the folders of trees, and with `parents` those above every target; those that are there stay as they are.
 *
 * @param made is told of each folder that comes into being
 */
export async function makeRemoteFolders(
  transfer: Transfer,
  remote: RemoteFiles,
  items: readonly Item[],
  made: () => void,
): Promise<void> {
  const wanted = new Set<string>()
  if (transfer.input.parents) for (const item of items) for (const path of above(item.remote)) wanted.add(path)
  for (const item of items) if (item.kind === 'directory') wanted.add(item.remote)
  // Sent at once: a server answers in order, so what lies above comes into being first.
  const all = await Promise.allSettled([...wanted].map((path) => makeFolder(transfer, remote, path, made)))
  // Only when all have ended is it known what was made.
  for (const one of all) if (one.status === 'rejected') throw one.reason
}

async function makeFolder({ endpoint }: Transfer, remote: RemoteFiles, path: string, made: () => void): Promise<void> {
  try {
    await remote.mkdir(path, 0o777)
    made()
  } catch (error) {
    const there = await remote.stat(path).catch(() => undefined)
    if (there?.kind === 'directory') return
    if (there !== undefined) throw badTarget(path, 'is no folder on the host')
    throw await sftpError(error, { doing: 'make the folder', path, endpoint }, remote, { writes: true })
  }
}

/** The folders above a path, the outermost first. */
function above(path: string): string[] {
  const { folder } = splitRemote(path)
  if (folder === '.' || folder === '/') return []
  return [...above(folder), folder]
}
