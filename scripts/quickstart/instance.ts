import { chmod, copyFile, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { inRoot } from '../lib/paths.ts'
import type { QuickstartServer } from './ssh-server.ts'

/** Makes an instance folder with one target of tier `dev` and the policy for agents. What is there already is replaced. */
export async function writeInstance(folder: string, server: Omit<QuickstartServer, 'stop'>): Promise<void> {
  const settings = join(folder, 'settings')
  await mkdir(settings, { recursive: true, mode: 0o700 })
  await chmod(folder, 0o700)
  await writeFile(
    join(settings, 'mahavishnu.yaml'),
    [
      '# Settings of this instance; every key: docs/reference/settings.md',
      'version: 1',
      'ssh:',
      '  known_hosts: []',
      '',
    ].join('\n'),
  )
  await writeFile(
    join(settings, 'inventory.yaml'),
    [
      '# The targets of this instance; format: docs/guides/inventory.md',
      'version: 1',
      'targets:',
      '  demo:',
      '    description: an SSH server on this machine, made by the quickstart',
      '    tier: dev',
      '    tags: [demo]',
      '    ssh:',
      '      host: 127.0.0.1',
      `      port: ${server.port}`,
      `      user: ${JSON.stringify(server.user)}`,
      `      identity_files: [${server.identityFile}]`,
      '',
    ].join('\n'),
  )
  await copyFile(inRoot('policies/agent-safe.yaml'), join(settings, 'policy.yaml'))
}
