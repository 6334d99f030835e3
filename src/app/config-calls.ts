import { access } from 'node:fs/promises'
import { join } from 'node:path'
import { explainSetting, showSettings } from '../config/explain.ts'
import { loadInventory } from '../config/inventory.ts'
import { settingsJsonSchema } from '../config/json-schema.ts'
import { type LoadedSettings, loadSettings } from '../config/layers.ts'
import { resolveInFolder } from '../config/read-file.ts'
import { loadSchedules } from '../config/schedules.ts'
import { toMhvError, type WireError } from '../core/errors.ts'
import { loadPolicy } from '../governance/policy-file.ts'
import type { ConfigCalls, ConfigReport, InstancePlace } from '../surfaces/cli/commands.ts'
import { instanceFolder, readSetting, type SettingParts } from './setting.ts'

/** The CLI's questions about the configuration. None needs the lock, and none changes anything. */
export function createConfigCalls(parts: SettingParts): ConfigCalls {
  const load = async (place: InstancePlace) => (await readSetting(parts, { ...place, doing: 'config' })).loaded
  return {
    validate: (place) => validate(parts, place),
    explain: async (place, key) => explainSetting(await load(place), key),
    show: async (place) => showSettings(await load(place)),
    schema: async () => settingsJsonSchema(parts.registry),
    targets: async (place, worker) => {
      const { inventory } = await readSetting(parts, { ...place, doing: 'completion' })
      return inventory.list().flatMap(({ name, workers }) => (worker && !workers.includes(worker) ? [] : name))
    },
    folder: async ({ folder }) => instanceFolder(parts, folder),
  }
}

/** Looks at every file, also when an earlier one cannot be used, so that all problems are told at once. */
async function validate(parts: SettingParts, place: InstancePlace): Promise<ConfigReport> {
  const folder = instanceFolder(parts, place.folder)
  const problems: WireError[] = []
  const attempt = async <T>(act: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await act()
    } catch (error) {
      problems.push(toMhvError(error).toWire())
      return undefined
    }
  }
  const flags = Object.entries(place.set ?? {}).map(([key, value]) => `${key}=${value}`)
  const { registry, env } = parts
  const loaded = await attempt(() => loadSettings({ folder, registry, env, flags }))
  // Without settings the files lie where the defaults have them.
  const defaults = loaded ?? (await loadSettings({ folder: join(folder, '.none'), registry, env: {}, flags: [] }))
  const inventory = resolveInFolder(folder, defaults.values.inventory.file)
  const policy = resolveInFolder(folder, defaults.values.policy.file)
  const schedules = resolveInFolder(folder, defaults.values.schedules.file)
  const targets = await attempt(() => loadInventory({ file: inventory, registry }))
  // Without an inventory nobody can tell whether their targets are there.
  if (targets !== undefined) await attempt(() => loadSchedules({ file: schedules, registry, inventory: targets }))
  await attempt(() => loadPolicy(policy))
  return {
    files: [
      ...settingsFilesOf(loaded, folder),
      { what: 'inventory', file: inventory, present: await exists(inventory) },
      { what: 'schedules', file: schedules, present: await exists(schedules) },
      { what: 'policy', file: policy, present: await exists(policy) },
    ],
    problems,
  }
}

function settingsFilesOf(loaded: LoadedSettings | undefined, folder: string) {
  if (loaded === undefined) return [{ what: 'settings', file: join(folder, 'settings'), present: true }]
  return loaded.layers
    .filter((layer) => layer.name !== 'environment' && layer.name !== 'options')
    .map((layer) => ({ what: layer.name, file: layer.from, present: layer.present }))
}

export function exists(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  )
}
