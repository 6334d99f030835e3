import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { envText } from '../../src/config/env.ts'
import { explainSetting, type SettingExplanation, showSettings } from '../../src/config/explain.ts'
import { type LoadedSettings, loadSettings } from '../../src/config/layers.ts'
import { type SettingField, settingFields } from '../../src/config/schema.ts'
import { instanceFolder, registry } from '../fixtures/config/workers.ts'

/** Layers that a setting can stand in, lowest first, and how it is written there. */
const FILES = {
  project: 'settings/mahavishnu.yaml',
  local: 'settings/local.yaml',
  user: 'xdg/mahavishnu/mahavishnu.yaml',
}
const LAYERS = ['project', 'local', 'user', 'environment', 'options'] as const
type Layer = (typeof LAYERS)[number]

/** For settings that may be left out, by the last part of their key. */
const BY_HAND: Readonly<Record<string, unknown>> = {
  token: 'env:TOKEN',
  limit: 7,
  rate_per_second: 7,
  policy: 'linear',
  max_replays: 7,
  delay_seconds: 7,
  max_delay_seconds: 7,
  cpu_percent: 7,
  open_files: 77,
}

/** A value that the setting takes; where there is no default, one by hand. */
function sample(field: SettingField): unknown {
  return field.default ?? BY_HAND[field.path.at(-1) ?? '']
}

/** Two lines before it, so that a place that is made up does not fit by chance. */
function yamlOf(field: SettingField): { text: string; line: number; column: number } {
  const lines = field.path.map((key, depth) => `${'  '.repeat(depth)}${key}:`)
  const last = lines.length - 1
  const column = `${lines[last]} `.length + 1
  const text = ['# one', '# two', ...lines.slice(0, -1), `${lines[last]} ${JSON.stringify(sample(field))}`].join('\n')
  return { text, line: lines.length + 2, column }
}

async function loadWith(field: SettingField, layers: readonly Layer[]): Promise<LoadedSettings> {
  const { text } = yamlOf(field)
  const inFiles = Object.entries(FILES).filter(([layer]) => layers.includes(layer as Layer))
  const folder = instanceFolder(Object.fromEntries(inFiles.map(([, file]) => [file, text])))
  return loadSettings({
    folder,
    registry,
    env: layers.includes('environment') && field.env ? { [field.env]: envText(sample(field)) } : {},
    flags: layers.includes('options') ? [`${field.key}=${envText(sample(field))}`] : [],
    xdgConfigHome: join(folder, 'xdg'),
  })
}

function sourceOf(layer: Layer, field: SettingField, folder: string): string {
  if (layer === 'environment') return field.env as string
  if (layer === 'options') return `--set ${field.key}`
  const { line, column } = yamlOf(field)
  return `${join(folder, FILES[layer])}:${line}:${column}`
}

type Explain = (loaded: LoadedSettings, key: string) => SettingExplanation

/** Throws where an explanation does not name each layer that has the setting, highest first, at its place. */
async function walk(explain: Explain, fields: readonly SettingField[]): Promise<number> {
  let checked = 0
  for (const field of fields) {
    const possible = LAYERS.filter((layer) => field.env !== undefined || Object.hasOwn(FILES, layer))
    for (let count = 0; count <= possible.length; count += 1) {
      const layers = possible.slice(0, count)
      const loaded = await loadWith(field, layers)
      const { layer, source, overrides, value } = explain(loaded, field.key)
      const expected = layers.toReversed().map((name) => [name, sourceOf(name, field, loaded.folder)])
      const told = [{ layer, source }, ...overrides].map((origin) => [origin.layer, origin.source])
      assert.deepEqual(told, [...expected, ['defaults', 'declared default']], field.key)
      assert.deepEqual(value, layers.length > 0 ? sample(field) : (field.default ?? null), field.key)
      const shown = showSettings(loaded).find((setting) => setting.key === field.key)
      assert.deepEqual([shown?.layer, shown?.source, shown?.value], [layer, source, value])
      checked += 1
    }
  }
  return checked
}

test('CORE-06: every setting explains its origin, in every layer', async () => {
  const fields = settingFields(registry)
  assert.ok(fields.some((field) => field.key === 'ssh.max_connections'))
  assert.ok(fields.some((field) => field.key === 'ssh.admission.queue_size'))
  const checked = await walk(explainSetting, fields)
  assert.equal(checked, (fields.length - 1) * (LAYERS.length + 1) + 4)
})

test('CORE-06: the walk notices an explanation that is wrong (negative control)', async () => {
  const some = settingFields(registry).filter((field) => field.key.startsWith('demo.'))
  const wrong: Explain[] = [
    // Names the layer, but the place of the key of a neighbour.
    (loaded, key) => ({ ...explainSetting(loaded, key), source: explainSetting(loaded, 'log.level').source }),
    // Forgets what is overridden.
    (loaded, key) => ({ ...explainSetting(loaded, key), overrides: [] }),
    // Confuses two files.
    (loaded, key) => {
      const explanation = explainSetting(loaded, key)
      return explanation.layer === 'user' ? { ...explanation, layer: 'local' } : explanation
    },
    // Tells the default for the value in force.
    (loaded, key) => ({ ...explainSetting(loaded, key), value: null }),
  ]
  for (const explain of wrong) await assert.rejects(walk(explain, some), { code: 'ERR_ASSERTION' })
})
