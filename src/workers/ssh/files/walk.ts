import { hostileName } from '../../../core/local-files.ts'
import type { RemoteEntry, RemoteFiles } from '../transfer/remote-files.ts'

/** What a folder of the host holds. */
export interface FolderContent {
  /** Sorted by name; `.` and `..` left out. */
  readonly entries: readonly RemoteEntry[]
  /** Entries beyond the limit, counted only. */
  readonly beyond: number
  /** Names that no file system has, such as `../x`: never used, counted. */
  readonly hostile: number
}

/** Reads a folder, keeping at most `limit` entries. Throws what the server answers. */
export async function readFolder(files: RemoteFiles, path: string, limit: number): Promise<FolderContent> {
  const entries: RemoteEntry[] = []
  let beyond = 0
  let hostile = 0
  await files.list(path, (batch) => {
    for (const entry of batch) {
      if (entry.name === '.' || entry.name === '..') continue
      if (hostileName(entry.name) !== undefined) hostile += 1
      else if (entries.length >= limit) beyond += 1
      else entries.push(entry)
    }
  })
  entries.sort((one, other) => (one.name < other.name ? -1 : 1))
  return { entries, beyond, hostile }
}
