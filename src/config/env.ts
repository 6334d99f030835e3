import type { Registry } from '../core/registry.ts'
import { didYouMean, nearest } from '../core/suggest.ts'
import type { Place, Problem } from './problems.ts'
import { ENV_PREFIX, envPath, type SettingField, settingFields } from './schema.ts'
import { seedProblem } from './seed-keys.ts'
import { atPath, emptyMap, mergeSources, parseJson, type SourceMap, type SourceNode } from './source.ts'

/** Variables with our prefix that are no settings. */
export const OTHER_VARIABLES: readonly string[] = ['MAHAVISHNU_HOME']

/** Values of a layer that is not a file, and what is wrong with it. */
export interface TextLayer {
  readonly root: SourceMap
  readonly problems: readonly Problem[]
}

/** The layer of the environment. Names are derived from the schema: `MAHAVISHNU_SSH__MAX_CONNECTIONS`. */
export function environmentLayer(registry: Registry, env: Readonly<Record<string, string | undefined>>): TextLayer {
  const fields = new Map(settingFields(registry).map((field) => [field.env, field]))
  const names = [...fields.keys()].filter((name) => name !== undefined)
  const problems: Problem[] = []
  const values: SourceNode[] = []
  for (const [name, text] of Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (text === undefined || !name.startsWith(ENV_PREFIX) || OTHER_VARIABLES.includes(name)) continue
    const field = fields.get(name)
    if (field) values.push(...textNodes(field, text, { variable: name }, problems))
    else problems.push(...unknownVariable(name, names))
  }
  return { root: merged(values, { variable: `${ENV_PREFIX}*` }), problems }
}

/**
 * A variable that is no setting but looks like one stops the start: it has two underscores in a row, or it begins with
 * a section and is near to one of its settings. Others with our prefix may be anybody's (a secret that a reference
 * names, a container's own).
 */
function unknownVariable(name: string, names: readonly string[]): Problem[] {
  const flat = (text: string) => text.slice(ENV_PREFIX.length).toUpperCase().replace(/_+/g, '_')
  const nested = name.slice(ENV_PREFIX.length).includes('__')
  const candidates = nested
    ? names
    : names.filter((known) => flat(name).startsWith(`${flat(known.split('__')[0] ?? '')}_`))
  const near = candidates.find((known) => flat(known) === nearest(flat(name), candidates.map(flat)))
  if (!nested && near === undefined) return []
  const place = { variable: name }
  const seed = seedProblem(envPath(name) ?? [])
  if (seed) return [{ ...seed, place }]
  const suggestion = near === undefined ? '' : `; did you mean "${near}"?`
  return [{ code: 'MHV_CONFIG_UNKNOWN_KEY', message: `no setting has this name${suggestion}`, place }]
}

/** The layer of the options `--set ssh.max_connections=20`; of two for one setting the later one counts. */
export function optionsLayer(registry: Registry, options: readonly string[]): TextLayer {
  const fields = new Map(settingFields(registry).map((field) => [field.key, field]))
  const settable = [...fields.values()].filter((field) => field.env !== undefined).map((field) => field.key)
  const problems: Problem[] = []
  const values: SourceNode[] = []
  for (const option of options) {
    const end = option.indexOf('=')
    const key = option.slice(0, end)
    if (end < 1 || !/^[a-z0-9_.]{1,200}$/i.test(key)) {
      problems.push({ code: 'MHV_CONFIG_INVALID', message: 'must be KEY=VALUE', place: { option: '--set' } })
      continue
    }
    const place = { option: `--set ${key}` }
    const field = fields.get(key)
    if (field?.env !== undefined) {
      values.push(...textNodes(field, option.slice(end + 1), place, problems))
      continue
    }
    const message = `there is no "${key}"${didYouMean(key, settable)}`
    problems.push({ code: 'MHV_CONFIG_UNKNOWN_KEY', message, ...seedProblem(key.split('.')), place, key })
  }
  return { root: merged(values, { option: '--set' }), problems }
}

function merged(values: readonly SourceNode[], place: Place): SourceMap {
  const root = values.reduce<SourceNode>(mergeSources, emptyMap(place))
  return root.kind === 'map' ? root : emptyMap(place)
}

/**
 * A value from plain text, by what the setting takes: lists and maps are JSON; numbers, `true`, `false` and `null` are
 * themselves where the setting takes them; everything else is text. Nothing, where there is a problem.
 */
function textNodes(field: SettingField, text: string, place: Place, problems: Problem[]): SourceNode[] {
  const node = textNode(field, text, place)
  if (node) return [atPath(field.path, node)]
  const message = `${field.key} must be ${field.type}, written as JSON`
  problems.push({ code: 'MHV_CONFIG_INVALID', message, place, key: field.key })
  return []
}

function textNode({ json }: SettingField, text: string, place: Place): SourceNode | undefined {
  const trimmed = text.trim()
  const scalar = (value: string | number | boolean | null): SourceNode => ({ kind: 'scalar', place, value })
  const takes = (type: string) => json.has(type)
  if (trimmed.startsWith('[') && takes('array')) return parseJson(trimmed, place)
  if (trimmed.startsWith('{') && takes('object')) return parseJson(trimmed, place)
  if (takes('number') && NUMBER.test(trimmed)) return scalar(Number(trimmed))
  if (takes('boolean') && (trimmed === 'true' || trimmed === 'false')) return scalar(trimmed === 'true')
  if (takes('null') && trimmed === 'null') return scalar(null)
  const onlyJson = [...json].every((type) => type === 'array' || type === 'object')
  return onlyJson ? undefined : scalar(text)
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i

/** The text that a variable must have so that the setting gets this value. */
export function envText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
