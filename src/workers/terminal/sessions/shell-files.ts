import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Clock } from '../../../core/clock.ts'
import { systemCode } from '../../../core/errors.ts'
import { newNonce, type ShellIntegration, shellIntegration } from '../wait/shell-integration.ts'

/** A shell reads its file, and removes it with its folder, in its first moments; what is older is left over. */
const LEFT_AFTER_MS = 60_000
const PREFIX = 's-'

/** The files with which shells are started that mark their prompts, each in a folder of its own. */
export interface ShellFiles {
  /** Writes them for one start of this shell; undefined for a shell that is not known. */
  write(shell: string): Promise<StartedShell | undefined>
  /** Removes what a session has left that has read nothing: it could not be started, or has ended before. */
  remove(shell: StartedShell): Promise<void>
  /** Removes what was left by processes that ended before they could. */
  prune(): Promise<void>
}

export interface StartedShell extends Omit<ShellIntegration, 'files'> {
  readonly folder: string
}

export function createShellFiles(instanceFolder: string, clock: Clock): ShellFiles {
  const parent = join(instanceFolder, 'terminal', 'shells')
  const removeFolder = (folder: string) => rm(folder, { recursive: true, force: true })

  return {
    async write(shell) {
      await mkdir(parent, { recursive: true, mode: 0o700 })
      const folder = await mkdtemp(join(parent, PREFIX))
      try {
        const known = shellIntegration(shell, folder, newNonce())
        if (known === undefined) {
          await removeFolder(folder)
          return undefined
        }
        const { files, ...started } = known
        for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text, { mode: 0o600 })
        return { ...started, folder }
      } catch (error) {
        await removeFolder(folder)
        throw error
      }
    },
    remove: ({ folder }) => removeFolder(folder),
    async prune() {
      const names = await readdir(parent).catch((error: unknown) => {
        if (systemCode(error) === 'ENOENT') return []
        throw error
      })
      for (const name of names) {
        if (!name.startsWith(PREFIX)) continue
        const folder = join(parent, name)
        if (clock.now() - (await changedAt(folder)) >= LEFT_AFTER_MS) await removeFolder(folder)
      }
    },
  }
}

/** Milliseconds since the epoch; of a folder that its shell has removed meanwhile: never. */
async function changedAt(folder: string): Promise<number> {
  try {
    return (await stat(folder)).mtimeMs
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return Number.POSITIVE_INFINITY
    throw error
  }
}
