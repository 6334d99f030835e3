import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { BenchSshd } from './sshd.ts'

const STARTER_POLICY = join(import.meta.dirname, '../../policies/agent-safe.yaml')

/** Name of the one target of each worker. */
export const TARGET = 'bench'

/**
 * Makes an instance folder as a user has it: settings, inventory, and the starter policy for agents. The target is of
 * tier dev, where that policy allows writes.
 */
export function makeInstanceFolder(
  folder: string,
  {
    settings = {},
    target,
    more = {},
  }: {
    /** Beside the defaults. */
    readonly settings?: Readonly<Record<string, unknown>>
    /** Blocks of workers. */
    readonly target: Readonly<Record<string, unknown>>
    /** Further targets, by name. */
    readonly more?: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  },
): void {
  mkdirSync(join(folder, 'settings'), { recursive: true })
  const write = (name: string, content: unknown) => writeFileSync(join(folder, 'settings', name), stringify(content))
  write('mahavishnu.yaml', { version: 1, log: { level: 'warn' }, ...settings })
  const targets = Object.entries({ ...more, [TARGET]: target }).map(([name, blocks]) => [
    name,
    { tier: 'dev', ...blocks },
  ])
  write('inventory.yaml', { version: 1, targets: Object.fromEntries(targets) })
  copyFileSync(STARTER_POLICY, join(folder, 'settings', 'policy.yaml'))
}

/** The block of a target on a test server. */
export function sshTargetOf({ host, port, user, identityFile, knownHostsFile }: BenchSshd) {
  return { host, port, user, identity_files: [identityFile], known_hosts: [knownHostsFile] }
}

/** Where the journal of such a folder lies. */
export function journalOf(folder: string): string {
  return join(folder, 'journal', 'journal.db')
}

/** The settings of its connection that our journal reports of itself; a journal is made in that folder to ask it. */
export async function journalPragmas(folder: string): Promise<Readonly<Record<string, string | number>>> {
  const store = await openSqliteStore({ path: join(folder, 'pragmas.db') })
  const { pragmas } = await store.facts()
  await store.close()
  return pragmas
}
