import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const folders = new Set<string>()

function removeAll(): void {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true })
}

/** Calls `work` with a new folder of its own, which is gone afterwards, also when the benchmark is aborted. */
export async function withFolder<T>(name: string, work: (folder: string) => Promise<T>): Promise<T> {
  if (!process.listeners('exit').includes(removeAll)) process.on('exit', removeAll)
  const folder = mkdtempSync(join(tmpdir(), `mahavishnu-bench-${name}-`))
  folders.add(folder)
  try {
    return await work(folder)
  } finally {
    rmSync(folder, { recursive: true, force: true })
    folders.delete(folder)
  }
}
