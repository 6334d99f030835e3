/** A temporary folder for each test file, so that whoever leaves something in it is known. */
import { chmodSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface TestFolder {
  /** To be given as TMPDIR. Short, for sockets are made in it: the path of one has at most 107 bytes. */
  readonly path: string
  /** Removes it, or keeps it where it holds something and is to be kept. @returns the names of what it held */
  close(options: { readonly keep: boolean }): readonly string[]
}

const open = new Set<string>()

/** For a run that is told to end: removes the folders of the files that were being run. */
export function removeOpenFolders(): void {
  for (const path of open) rmSync(path, { recursive: true, force: true })
}

export function openFolder(): TestFolder {
  const path = mkdtempSync(join(tmpdir(), 'mhv-'))
  // As /tmp is: tests have users of their own work in it.
  chmodSync(path, 0o1777)
  open.add(path)
  return {
    path,
    close({ keep }) {
      open.delete(path)
      const held = existsSync(path) ? readdirSync(path).sort() : []
      if (!keep || held.length === 0) rmSync(path, { recursive: true, force: true })
      return held
    },
  }
}
