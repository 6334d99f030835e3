import { isAbsolute, join } from 'node:path'
import { z } from 'zod'
import type { Registry } from '../core/registry.ts'
import type { AnyWorker } from '../core/worker.ts'
import { asSection, type CheckReport, checkPartial, plainFor, reportIssues, unknownKeyMessage } from './check.ts'
import { environmentLayer, optionsLayer } from './env.ts'
import { type Problem, shownPath, throwIfAny } from './problems.ts'
import {
  type CommonWorkerSettings,
  SETTINGS_FORMAT,
  type Settings,
  settingsSchema,
  workerSettingsSchema,
} from './schema.ts'
import { isSeedSection, seedProblem } from './seed-keys.ts'
import { emptyMap, fromJson, mergeSources, type SourceEntry, type SourceMap, type SourceNode } from './source.ts'
import { checkVersion, readYaml } from './yaml-source.ts'

/** Lowest to highest: a higher layer wins. */
export const SETTINGS_LAYERS = ['defaults', 'project', 'local', 'user', 'manifest', 'environment', 'options'] as const
export type LayerName = (typeof SETTINGS_LAYERS)[number]

export interface SettingsLayer {
  readonly name: LayerName
  /** The file, or what else the layer is. */
  readonly from: string
  /** False for a file that is not there. */
  readonly present: boolean
  readonly root: SourceMap
}

interface ReadLayer extends SettingsLayer {
  readonly problems: readonly Problem[]
}

/** One immutable generation of the settings. A run keeps the one it started with. */
export interface LoadedSettings {
  /** 1 for the first; rises by one with every reload. */
  readonly generation: number
  /** The instance folder. */
  readonly folder: string
  readonly registry: Registry
  /** The values, frozen through and through. */
  readonly values: Settings
  /** Lowest to highest, without the declared defaults. */
  readonly layers: readonly SettingsLayer[]
}

export interface LoadSettingsOptions {
  /** The instance folder. */
  readonly folder: string
  readonly registry: Registry
  readonly env: Readonly<Record<string, string | undefined>>
  /** `ssh.max_connections=20`, as given to `--set`. */
  readonly flags: readonly string[]
  /** Where the user's file lies; without it XDG_CONFIG_HOME or ~/.config of `env` are taken. */
  readonly xdgConfigHome?: string
  /** The generation that this one follows. */
  readonly previous?: LoadedSettings
}

/**
 * Reads all layers and merges them: maps key by key, everything else as a whole. Throws one error with all problems of
 * all layers (MHV_CONFIG_UNKNOWN_KEY, _INVALID, _UNPARSABLE, _UNREADABLE, _NEWER, _RENAMED, _NOT_AVAILABLE); none of
 * them has a value of a layer in its text.
 */
export async function loadSettings(options: LoadSettingsOptions): Promise<LoadedSettings> {
  const { folder, registry, previous } = options
  const schema = settingsSchema(registry)
  const files = await Promise.all(
    settingsFiles(options).map(async ([name, file]): Promise<ReadLayer> => {
      const { root = emptyMap({ file }), missing, problems } = await readYaml(file)
      return { name, from: file, present: !missing, root, problems }
    }),
  )
  const read = lowestFirst([
    ...files,
    { name: 'environment', from: 'environment', present: true, ...environmentLayer(registry, options.env) },
    { name: 'options', from: '--set', present: true, ...optionsLayer(registry, options.flags) },
  ])
  const problems = read.flatMap((layer) => [...layer.problems, ...layerProblems(schema, layer)])
  throwIfAny(problems)
  const layers = Object.freeze(read.map(({ problems: _none, ...layer }): SettingsLayer => Object.freeze(layer)))
  const values = mergedValues(schema, layers) as Settings
  return Object.freeze({ generation: (previous?.generation ?? 0) + 1, folder, registry, values, layers })
}

function lowestFirst(layers: readonly ReadLayer[]): ReadLayer[] {
  return SETTINGS_LAYERS.flatMap((name) => layers.filter((layer) => layer.name === name))
}

/** The files of settings. */
function settingsFiles({ folder, env, xdgConfigHome }: LoadSettingsOptions): [LayerName, string][] {
  const config = xdgConfigHome ?? configHome(env)
  const user = config === undefined ? undefined : join(config, 'mahavishnu', 'mahavishnu.yaml')
  return [
    ['project', join(folder, 'settings', 'mahavishnu.yaml')],
    ['local', join(folder, 'settings', 'local.yaml')],
    ...(user === undefined ? [] : [['user', user] as [LayerName, string]]),
  ]
}

/** XDG Base Directory Specification: a relative XDG_CONFIG_HOME is to be ignored. */
function configHome(env: LoadSettingsOptions['env']): string | undefined {
  const { XDG_CONFIG_HOME: xdg, HOME: home } = env
  if (xdg !== undefined && isAbsolute(xdg)) return xdg
  return home !== undefined && isAbsolute(home) ? join(home, '.config') : undefined
}

function layerProblems(schema: z.ZodObject, layer: SettingsLayer): readonly Problem[] {
  const newer = checkVersion(layer.root, SETTINGS_FORMAT, 'the settings', 'MHV_CONFIG_INVALID', false)
  if (newer) return [newer]
  const problems: Problem[] = []
  checkPartial(schema, layer.root, [], settingsReport(problems))
  return problems
}

function settingsReport(problems: Problem[]): CheckReport {
  return {
    invalid: 'MHV_CONFIG_INVALID',
    unknownKey: unknownSetting,
    add: (problem) => problems.push(problem),
  }
}

/** Keys of the design documents are answered by name; their sections are looked into. */
function unknownSetting(path: readonly string[], entry: SourceEntry, known: readonly string[]): Problem[] {
  const base = { place: entry.place, key: shownPath(path) }
  const seed = seedProblem(path)
  if (seed) return [{ ...base, ...seed }]
  if (isSeedSection(path) && entry.node.kind === 'map' && entry.node.entries.size > 0) {
    return [...entry.node.entries].flatMap(([key, inner]) => unknownSetting([...path, key], inner, []))
  }
  return [{ ...base, code: 'MHV_CONFIG_UNKNOWN_KEY', message: unknownKeyMessage(path, known) }]
}

const DECLARED = { file: 'declared defaults' }

/** All layers as one value, checked as a whole: rules over several settings are looked at here. */
function mergedValues(schema: z.ZodObject, layers: readonly SettingsLayer[]): unknown {
  const merged = layers.reduce<SourceNode>((lower, layer) => mergeSources(lower, layer.root), emptyMap(DECLARED))
  const problems: Problem[] = []
  const whole = withSections(schema, merged)
  const parsed = z.safeParse(schema, plainFor(schema, whole))
  if (!parsed.success) reportIssues(parsed.error.issues, schema, whole, [], settingsReport(problems))
  throwIfAny(problems)
  return deepFreeze(parsed.data)
}

/** Puts in every section that no layer has, so that its defaults apply; a section with nothing in it counts as empty. */
function withSections(section: z.ZodObject, node: SourceNode): SourceNode {
  const entries = new Map(node.kind === 'map' ? node.entries : [])
  for (const [key, schema] of Object.entries(section.shape)) {
    const inner = asSection(schema)
    if (!inner) continue
    const entry = entries.get(key)
    const below = entry?.node ?? emptyMap(node.place)
    entries.set(key, { place: entry?.place ?? node.place, node: withSections(inner, below) })
  }
  return { kind: 'map', place: node.place, entries }
}

/** Settings of a worker: its own and the ones that all have. */
export type WorkerSettings<W extends AnyWorker = AnyWorker> = z.output<W['settings']> & CommonWorkerSettings

type Overrides = Readonly<Record<string, unknown>>

const NO_OVERRIDES: Overrides = Object.freeze({})
const effective = new WeakMap<LoadedSettings, Map<string, WeakMap<Overrides, unknown>>>()

/**
 * The settings of a call: the worker's, with a target's overrides over them. The same objects give the same result,
 * which is frozen. Throws MHV_INVENTORY_INVALID where the two do not fit together.
 */
export function settingsFor<W extends AnyWorker>(
  loaded: LoadedSettings,
  worker: W,
  overrides: Overrides = NO_OVERRIDES,
): WorkerSettings<W> {
  if (overrides === NO_OVERRIDES) return loaded.values[worker.name] as WorkerSettings<W>
  const byWorker = effective.get(loaded) ?? new Map<string, WeakMap<Overrides, unknown>>()
  effective.set(loaded, byWorker)
  const known = byWorker.get(worker.name) ?? new WeakMap<Overrides, unknown>()
  byWorker.set(worker.name, known)
  const settings = known.get(overrides) ?? mergedWorkerSettings(loaded, worker, overrides)
  known.set(overrides, settings)
  return settings as WorkerSettings<W>
}

function mergedWorkerSettings(loaded: LoadedSettings, worker: AnyWorker, overrides: Overrides): unknown {
  const schema = workerSettingsSchema(worker)
  const place = { file: 'overrides' }
  const layers = loaded.layers.flatMap((layer) => layer.root.entries.get(worker.name)?.node ?? [])
  const merged = [...layers, fromJson(overrides, place)].reduce(mergeSources, emptyMap(place) as SourceNode)
  const parsed = z.safeParse(schema, plainFor(schema, withSections(schema, merged)))
  if (parsed.success) return deepFreeze(parsed.data)
  const problems: Problem[] = []
  reportIssues(parsed.error.issues, schema, merged, [worker.name], {
    ...settingsReport(problems),
    invalid: 'MHV_INVENTORY_INVALID',
  })
  throwIfAny(problems)
  return undefined
}

/** Freezes plain data through and through. */
export function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  for (const inner of Object.values(value)) deepFreeze(inner)
  return Object.freeze(value)
}
