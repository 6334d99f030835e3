import type { Composition } from '../app.ts'
import { settingsFor } from '../config/layers.ts'
import { toMhvError } from '../core/errors.ts'
import type { Finding } from '../surfaces/cli/doctor.ts'
import type { InstanceSetting } from './setting.ts'

const CHECK = 'ssh config'
/** Findings that are shown one by one. */
const SHOWN = 8

/** What of ssh_config is not understood, by file and line; nothing where no such file is to be read. */
export async function sshConfigFindings(
  { registry }: Pick<Composition, 'registry'>,
  { loaded, folder }: InstanceSetting,
): Promise<Finding[]> {
  const worker = registry.workers.find(({ name }) => name === 'ssh')
  if (worker === undefined) return []
  const { config_files: files } = settingsFor(loaded, worker) as { readonly config_files?: readonly string[] }
  if (files === undefined || files.length === 0) return []
  try {
    const [{ lookAtConfig }, { localPath }] = await Promise.all([
      import('../workers/ssh/config/findings.ts'),
      import('../workers/ssh/local-path.ts'),
    ])
    const look = await lookAtConfig(files.map((file) => localPath(file, folder)))
    const { findings } = look
    if (findings.length === 0) return [{ check: CHECK, level: 'ok', message: `${look.files} files` }]
    const shown = findings.slice(0, SHOWN).map(({ place, message }) => `${place}: ${message}`)
    if (findings.length > SHOWN) shown.push(`and ${findings.length - SHOWN} more`)
    const fix =
      'Say in settings/inventory.yaml what these lines should do; docs/guides/ssh.md has what is read of ssh_config.'
    return [{ check: CHECK, level: 'warn', message: shown.join('; '), fix }]
  } catch (error) {
    const { code, message, remedy } = toMhvError(error)
    return [{ check: CHECK, level: 'fail', message: `${code}: ${message}`, fix: remedy }]
  }
}
