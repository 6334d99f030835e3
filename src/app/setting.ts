import { lstat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { explainSetting } from '../config/explain.ts'
import { type Inventory, loadInventory } from '../config/inventory.ts'
import { type LoadedSettings, loadSettings } from '../config/layers.ts'
import { resolveInFolder } from '../config/read-file.ts'
import type { Settings } from '../config/schema.ts'
import { systemCode } from '../core/errors.ts'
import type { Registry } from '../core/registry.ts'
import type { InstanceOptions } from '../runtime/instance.ts'

/** What is needed to know where an instance is and what it is set to; less than for running it. */
export interface SettingParts {
  readonly registry: Registry
  readonly env: Readonly<Record<string, string | undefined>>
}

/** Folder of the instance: the option, else MAHAVISHNU_HOME, else the XDG data folder. */
export function instanceFolder(parts: Pick<SettingParts, 'env'>, folder: string | undefined): string {
  const { MAHAVISHNU_HOME, XDG_DATA_HOME, HOME = homedir() } = parts.env
  return resolve(folder ?? (MAHAVISHNU_HOME || join(XDG_DATA_HOME || join(HOME, '.local', 'share'), 'mahavishnu')))
}

/** Everything of an instance that can be read without its lock. */
export interface InstanceSetting {
  readonly folder: string
  readonly loaded: LoadedSettings
  readonly inventory: Inventory
  readonly policyFile: string
  readonly journalFile: string
  /** Least level that is logged. */
  readonly logLevel: Settings['log']['level']
}

export async function readSetting(parts: SettingParts, options: InstanceOptions): Promise<InstanceSetting> {
  const folder = instanceFolder(parts, options.folder)
  const flags = Object.entries(options.set ?? {}).map(([key, value]) => `${key}=${value}`)
  const loaded = await loadSettings({ folder, registry: parts.registry, env: parts.env, flags })
  const { inventory, policy, journal, log } = loaded.values
  return {
    folder,
    loaded,
    inventory: await loadInventory({ file: resolveInFolder(folder, inventory.file), registry: parts.registry }),
    policyFile: resolveInFolder(folder, policy.file),
    journalFile: resolveInFolder(folder, journal.file),
    logLevel: options.terse === true && !isSet(loaded, 'log.level') ? 'error' : log.level,
  }
}

function isSet(loaded: LoadedSettings, key: string): boolean {
  return explainSetting(loaded, key).layer !== 'defaults'
}

/**
 * Whether nothing was run there yet. A journal that may not be looked at, or is a link to a disk that is not there, is
 * one all the same: opening it says what is wrong.
 */
export function hasNoJournal({ journalFile }: Pick<InstanceSetting, 'journalFile'>): Promise<boolean> {
  return lstat(journalFile).then(
    () => false,
    (error: unknown) => systemCode(error) === 'ENOENT',
  )
}
