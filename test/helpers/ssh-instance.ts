import { mkdir, mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { Sshd } from './sshd.ts'

export interface SshInstanceOptions {
  /** Settings of the file, as they stand under `ssh:`. */
  readonly ssh?: Readonly<Record<string, unknown>>
  /** Further fields of the target's ssh block, over those that log in with the server's key. */
  readonly target?: Readonly<Record<string, unknown>>
  /** Further settings of the file. */
  readonly settings?: Readonly<Record<string, unknown>>
  /** Tier of the target; the policy allows everything on all of them. */
  readonly tier?: string
  /** Text of the policy; the default allows everything. */
  readonly policy?: string
}

const ALLOW_ALL = 'version: 1\nname: all\nrules:\n  - { id: all, decision: allow }\n'

/** A temporary instance folder with one target, `box`, on a test sshd whose key it knows. */
export async function sshInstance(sshd: Sshd, options: SshInstanceOptions = {}): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-instance-'))
  const settings = join(folder, 'settings')
  await mkdir(settings, { mode: 0o700 })
  const block = { host: sshd.host, port: sshd.port, user: sshd.user, identity_files: [sshd.userKey], ...options.target }
  const targets = { box: { tier: options.tier ?? 'dev', ssh: block } }
  await writeFile(
    join(settings, 'mahavishnu.yaml'),
    stringify({ version: 1, ...options.settings, ssh: { known_hosts: [], config_files: [], ...options.ssh } }),
  )
  await writeFile(join(settings, 'inventory.yaml'), stringify({ version: 1, targets }))
  await writeFile(join(settings, 'policy.yaml'), options.policy ?? ALLOW_ALL)
  await writeFile(join(folder, 'known_hosts'), sshd.knownHosts, { mode: 0o600 })
  return folder
}
