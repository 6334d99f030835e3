import type { Registry } from '../core/registry.ts'
import { didYouMean } from '../core/suggest.ts'
import { distance } from 'fastest-levenshtein'
import { parseJson } from './json-source.ts'
import type { Place, Problem } from './problems.ts'
import { ENV_PREFIX, envName, envPath, type SettingField, settingFields } from './schema.ts'
import { seedProblem } from './seed-keys.ts'
import { atPath, emptyMap, mergeSources, type SourceNode } from './source.ts'

/** Variables with our prefix that are no settings. */
export const OTHER_VARIABLES: readonly string[] = ['MAHAVISHNU_HOME']

/** Values of a layer that is not a file, and what is wrong with it. */
export interface TextLayer {
  readonly root: SourceNode
  readonly problems: readonly Problem[]
}

/** The layer of the environment. Names are derived from the schema: `MAHAVISHNU_SSH__MAX_CONNECTIONS`. */
export function environmentLayer(registry: Registry, env: Readonly<Record<string, string | undefined>>): TextLayer {
  const fields = new Map(settingFields(registry).map((field) => [field.env, field]))
  const names = [...fields.keys()].filter((name) => name !== undefined)
  const problems: Problem[] = []
  let root: SourceNode = emptyMap({ variable: `${ENV_PREFIX}*` })
  for (const [name, text] of Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1))) {
    if (text === undefined || !name.startsWith(ENV_PREFIX) || OTHER_VARIABLES.includes(name)) continue
    const field = fields.get(name)
    if (field) root = mergeSources(root, atPath(field.path, textNode(field, text, { variable: name }, problems)))
    else problems.push(...unknownVariable(name, names))
  }
  return { root, problems }
}

/**
 * A variable that is no setting but looks like one stops the start; others with our prefix may be anybody's (a secret
 * that is named in a reference, a container's own).
 */
function unknownVariable(name: string, names: readonly string[]): Problem[] {
  const flat = (text: string) => text.toUpperCase().replace(/_+/g, '_')
  const near = names.find((known) => distance(flat(known), flat(name)) <= 2)
  if (!name.slice(ENV_PREFIX.length).includes('__') && near === undefined) return []
  const place = { variable: name }
  const seed = seedProblem(envPath(name) ?? [])
  if (seed) return [{ ...seed, place }]
  const suggestion = near === undefined ? didYouMean(name, names) : `; did you mean "${near}"?`
  return [{ code: 'MHV_CONFIG_UNKNOWN_KEY', message: `no setting has this name${suggestion}`, place }]
}

/** The layer of the options `--set ssh.max_connections=20`; of two for one setting the later one counts. */
export function optionsLayer(registry: Registry, options: readonly string[]): TextLayer {
  const fields = new Map(settingFields(registry).map((field) => [field.key, field]))
  const settable = [...fields.values()].filter((field) => field.env !== undefined).map((field) => field.key)
  const problems: Problem[] = []
  let root: SourceNode = emptyMap({ option: '--set' })
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
      root = mergeSources(root, atPath(field.path, textNode(field, option.slice(end + 1), place, problems)))
      continue
    }
    const message = `there is no "${key}"${didYouMean(key, settable)}`
    problems.push({ code: 'MHV_CONFIG_UNKNOWN_KEY', message, ...seedProblem(key.split('.')), place, key })
  }
  return { root, problems }
}

/**
 * A value from plain text, by what the setting takes: lists and maps are JSON; numbers, `true`, `false` and `null` are
 * themselves where the setting takes them; everything else is text.
 */
function textNode(field: SettingField, text: string, place: Place, problems: Problem[]): SourceNode {
  const trimmed = text.trim()
  const scalar = (value: string | number | boolean | null): SourceNode => ({ kind: 'scalar', place, value })
  const takes = (type: string) => field.json.has(type)
  if ((trimmed.startsWith('[') && takes('array')) || (trimmed.startsWith('{') && takes('object'))) {
    const parsed = parseJson(trimmed, place)
    if (parsed) return parsed
    problems.push({ code: 'MHV_CONFIG_INVALID', message: `${field.key} is not valid JSON`, place, key: field.key })
    return scalar(null)
  }
  if (takes('number') && /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(trimmed)) return scalar(Number(trimmed))
  if (takes('boolean') && (trimmed === 'true' || trimmed === 'false')) return scalar(trimmed === 'true')
  if (takes('null') && trimmed === 'null') return scalar(null)
  return scalar(text)
}

/** The text that a variable must have so that the setting gets this value. */
export function envText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

export { envName, envPath }
