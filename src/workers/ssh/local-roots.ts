import type { LocalRoots } from '../../core/local-files.ts'
import { localPath } from './local-path.ts'
import type { SshSettings } from './settings.ts'

/** Where transfers and scripts may read and write on this machine. */
export function localRoots(settings: Pick<SshSettings, 'local_roots'>, folder: string): LocalRoots {
  return {
    folders: settings.local_roots.map((path) => localPath(path, folder)),
    closed: folder,
    setting: 'ssh.local_roots',
  }
}
