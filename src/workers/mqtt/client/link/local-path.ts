import { homedir } from 'node:os'
import { join, resolve } from 'node:path'

/** A path of the settings: `~` is the home folder of this user, a relative path starts in the instance folder. */
export function localPath(path: string, folder: string): string {
  if (path === '~') return homedir()
  if (path.startsWith('~/')) return join(homedir(), path.slice(2))
  return resolve(folder, path)
}
