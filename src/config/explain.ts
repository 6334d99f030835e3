import type { SecretReference } from '../core/context.ts'
import { mhvError } from '../core/errors.ts'
import { describeReference, parseSecretReference } from '../core/secret-reference.ts'
import { didYouMean } from '../core/suggest.ts'
import type { LayerName, LoadedSettings } from './layers.ts'
import { placeText } from './problems.ts'
import { type SettingField, settingFields } from './schema.ts'
import { seedProblem } from './seed-keys.ts'
import { nodeAt, toPlain } from './source.ts'

/** A value, the layer it comes from, and the exact place: `FILE:LINE:COLUMN`, a variable, or an option. */
export interface SettingOrigin {
  readonly layer: LayerName
  readonly source: string
  /** Secret references are shown without the arguments of their program. */
  readonly value: unknown
}

export interface ShownSetting extends SettingOrigin {
  readonly key: string
}

export interface SettingExplanation extends ShownSetting {
  readonly description: string
  /** What it takes, in words. */
  readonly type: string
  /** Null where there is none. */
  readonly default: unknown
  /** Its variable; null for what only a file can set. */
  readonly env: string | null
  /** What the layers below have, highest first; the declared default is the last. Maps are merged with them. */
  readonly overrides: readonly SettingOrigin[]
}

/** Where the value of a setting comes from, and what it overrides. Throws MHV_CONFIG_KEY_UNKNOWN. */
export function explainSetting(loaded: LoadedSettings, key: string): SettingExplanation {
  const field = findField(loaded, key)
  const [origin, ...overrides] = originsOf(loaded, field)
  return {
    key,
    value: shownValue(field, currentValue(loaded, field)),
    layer: origin.layer,
    source: origin.source,
    description: field.description,
    type: field.type,
    default: shownValue(field, field.default ?? null),
    env: field.env ?? null,
    overrides,
  }
}

/** Every setting with its value and origin, in the order of the schema. */
export function showSettings(loaded: LoadedSettings): readonly ShownSetting[] {
  return settingFields(loaded.registry).map((field) => {
    const [{ layer, source }] = originsOf(loaded, field)
    return { key: field.key, value: shownValue(field, currentValue(loaded, field)), layer, source }
  })
}

/** An explanation for people, one fact a line. */
export function explanationText(explanation: SettingExplanation): string {
  const { key, value, layer, source, description, type, env, overrides } = explanation
  const rows = [
    `${key} = ${JSON.stringify(value)}`,
    `  from      ${originText(layer, source)}`,
    ...overrides.map(
      (below) => `  overrides ${JSON.stringify(below.value)}, from ${originText(below.layer, below.source)}`,
    ),
    `  is        ${description}`,
    `  takes     ${type}`,
    ...(env === null ? [] : [`  variable  ${env}`]),
  ]
  return rows.join('\n')
}

function originText(layer: LayerName, source: string): string {
  return layer === 'defaults' ? source : `${source} (${layer})`
}

function findField(loaded: LoadedSettings, key: string): SettingField {
  const fields = settingFields(loaded.registry)
  const found = fields.find((field) => field.key === key)
  if (found) return found
  const inside = fields.filter((field) => field.key.startsWith(`${key}.`)).map((field) => field.key)
  if (inside.length > 0)
    throw mhvError('MHV_CONFIG_KEY_UNKNOWN', `"${key}" is a section; in it are ${inside.join(', ')}`)
  const seed = seedProblem(key.split('.'))
  const keys = fields.map((field) => field.key)
  throw mhvError('MHV_CONFIG_KEY_UNKNOWN', seed?.message ?? `there is no setting "${key}"${didYouMean(key, keys)}`)
}

/** From the layer that counts down to the declared default. */
function originsOf(loaded: LoadedSettings, field: SettingField): [SettingOrigin, ...SettingOrigin[]] {
  const origins = loaded.layers.flatMap((layer): SettingOrigin[] => {
    const node = nodeAt(layer.root, field.path)
    if (!node) return []
    return [{ layer: layer.name, source: placeText(node.place), value: shownValue(field, toPlain(node)) }]
  })
  const declared: SettingOrigin = {
    layer: 'defaults',
    source: 'declared default',
    value: shownValue(field, field.default ?? null),
  }
  const [highest, ...rest] = [...origins.reverse(), declared]
  return [highest ?? declared, ...rest]
}

function currentValue(loaded: LoadedSettings, field: SettingField): unknown {
  const value = field.path.reduce<unknown>(
    (inner, part) =>
      typeof inner === 'object' && inner !== null ? (inner as Record<string, unknown>)[part] : undefined,
    loaded.values,
  )
  return value ?? null
}

function shownValue(field: SettingField, value: unknown): unknown {
  return field.secret ? withoutArguments(value) : value
}

function withoutArguments(value: unknown): unknown {
  if (typeof value === 'string' || (typeof value === 'object' && value !== null && 'exec' in value)) {
    return parseSecretReference(value as SecretReference) ? describeReference(value as SecretReference) : value
  }
  if (Array.isArray(value)) return value.map(withoutArguments)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withoutArguments(inner)]))
}
