import { z } from 'zod'
import { type ResolvedTarget, TIERS, type Tier } from '../core/context.ts'
import { type MhvError, mhvError, toMhvError } from '../core/errors.ts'
import type { Registry } from '../core/registry.ts'
import { didYouMean, nearest } from '../core/suggest.ts'
import type { AnyWorker } from '../core/worker.ts'
import { type CheckReport, checkPartial, plainFor, reportIssues, unknownKeyMessage } from './check.ts'
import { INVENTORY_FORMAT, inventorySchemas, TARGET_NAME } from './inventory-schema.ts'
import { deepFreeze } from './layers.ts'
import { type Problem, problemsError, shownKey, shownPath } from './problems.ts'
import { LATER_WORKERS } from './seed-keys.ts'
import { emptyMap, mergeSources, type SourceMap, type SourceNode, toPlain } from './source.ts'
import { checkVersion, readYaml, type YamlCodes } from './yaml-source.ts'

/** What the inventory knows of a target, without any address. */
export interface InventoryTarget {
  readonly name: string
  readonly tier: Tier
  readonly tags: readonly string[]
  readonly groups: readonly string[]
  readonly description: string | null
  /** Workers that it has a block for. */
  readonly workers: readonly string[]
}

export interface TargetForWorker<T = unknown> {
  readonly target: ResolvedTarget<T>
  /** Settings of the worker that differ for this target; the same object every time. */
  readonly overrides: Readonly<Record<string, unknown>>
}

export interface Inventory {
  readonly file: string
  /** In the order of the file. */
  names(): readonly string[]
  list(): readonly InventoryTarget[]
  /** Throws MHV_TARGET_UNKNOWN, MHV_TARGET_UNSUPPORTED or MHV_WORKER_UNKNOWN. */
  resolve<T = unknown>(name: string, worker: string): TargetForWorker<T>
}

export interface LoadInventoryOptions {
  readonly file: string
  readonly registry: Registry
}

const CODES: YamlCodes = {
  unparsable: 'MHV_INVENTORY_INVALID',
  unreadable: 'MHV_INVENTORY_INVALID',
  invalid: 'MHV_INVENTORY_INVALID',
}

/**
 * Reads the inventory and checks all of it. A file that is not there is an empty inventory. Throws one error with all
 * problems (MHV_INVENTORY_INVALID, MHV_CONFIG_NEWER).
 */
export async function loadInventory({ file, registry }: LoadInventoryOptions): Promise<Inventory> {
  const { root, problems: broken, missing } = await readYaml(file, CODES)
  if (missing) return createInventory(file, registry, new Map(), true)
  const problems = [...broken]
  const targets = root && problems.length === 0 ? readTargets(root, registry, problems) : new Map<string, Target>()
  const [first, ...rest] = problems
  if (first) throw problemsError([first, ...rest])
  return createInventory(file, registry, targets, false)
}

interface Target extends InventoryTarget {
  readonly blocks: ReadonlyMap<string, TargetForWorker>
}

function createInventory(
  file: string,
  registry: Registry,
  targets: ReadonlyMap<string, Target>,
  missing: boolean,
): Inventory {
  const names = [...targets.keys()]
  const listed = [...targets.values()].map(({ blocks: _blocks, ...target }) => deepFreeze(target))
  return {
    file,
    names: () => names,
    list: () => listed,
    resolve<T>(name: string, worker: string) {
      registry.worker(worker)
      const target = targets.get(name)
      if (!target) throw unknownTarget(name, names, file, missing)
      const found = target.blocks.get(worker)
      if (found) return found as TargetForWorker<T>
      throw mhvError('MHV_TARGET_UNSUPPORTED', `target "${name}" has no block "${worker}" in ${file}`, {
        details: { target: name, worker, has: target.workers },
      })
    },
  }
}

function unknownTarget(name: string, names: readonly string[], file: string, missing: boolean): MhvError {
  const details = { target: name, nearest: nearest(name, names) }
  const shown = TARGET_NAME.test(name) ? `no target "${name}"` : 'no target of this name'
  if (missing) {
    const remedy = `Write ${file} with the target in it; docs/guides/inventory.md shows the format.`
    return mhvError('MHV_TARGET_UNKNOWN', `there is ${shown}: there is no inventory at ${file}`, { details, remedy })
  }
  return mhvError('MHV_TARGET_UNKNOWN', `there is ${shown} in ${file}${didYouMean(name, names)}`, { details })
}

function readTargets(root: SourceMap, registry: Registry, problems: Problem[]): Map<string, Target> {
  const report = inventoryReport(problems)
  const version = checkVersion(root, INVENTORY_FORMAT, 'the inventory', 'MHV_INVENTORY_INVALID', true)
  if (version) problems.push(version)
  if (version && root.entries.has('version')) return new Map()

  checkPartial(inventorySchemas(registry).file, root, [], report)
  if (problems.length > 0) return new Map()
  const groups = children(root, 'groups')
  const defaults = childMap(root, 'defaults')
  const targets = [...children(root, 'targets')].map(([name, node]): [string, Target] => {
    const parts = { defaults, groups: groupsOf(name, node, groups, report), own: node }
    return [name, toTarget(name, parts, registry, report)]
  })
  if (problems.length > 0) return new Map()
  return linkTargets(new Map(targets), root, registry, report)
}

/** Targets whose blocks name others get what those say (jump hosts). */
function linkTargets(
  targets: ReadonlyMap<string, Target>,
  root: SourceMap,
  registry: Registry,
  report: CheckReport,
): Map<string, Target> {
  const written = children(root, 'targets')
  return new Map(
    [...targets].map(([name, target]): [string, Target] => {
      const blocks = [...target.blocks].map(([worker, block]): [string, TargetForWorker] => {
        const { linkTarget } = registry.worker(worker)
        if (linkTarget === undefined) return [worker, block]
        const lookup = (other: string) => targets.get(other)?.blocks.get(worker)?.target.address
        try {
          const address = linkTarget(block.target.address, lookup)
          return [worker, deepFreeze({ ...block, target: { ...block.target, address } })]
        } catch (error) {
          const place = written.get(name)?.entries.get(worker)?.place ?? root.place
          const key = `targets.${name}.${worker}`
          report.add({ code: 'MHV_INVENTORY_INVALID', message: `${key}: ${toMhvError(error).message}`, place, key })
          return [worker, block]
        }
      })
      return [name, { ...target, blocks: new Map(blocks) }]
    }),
  )
}

function inventoryReport(problems: Problem[]): CheckReport {
  return {
    invalid: 'MHV_INVENTORY_INVALID',
    unknownKey: (path, { place }, known) => {
      const key = path.at(-1) ?? ''
      const later = path.length === (path[0] === 'defaults' ? 2 : 3) && LATER_WORKERS.includes(key)
      const message = later ? `the worker "${key}" is known, but not available yet` : unknownKeyMessage(path, known)
      return [{ code: 'MHV_INVENTORY_INVALID', message, place, key: shownPath(path) }]
    },
    add: (problem) => problems.push(problem),
  }
}

function childMap(node: SourceMap, key: string): SourceMap {
  const found = node.entries.get(key)?.node
  return found?.kind === 'map' ? found : emptyMap(found?.place ?? node.place)
}

function children(root: SourceMap, key: string): Map<string, SourceMap> {
  const section = childMap(root, key)
  return new Map([...section.entries.keys()].map((name) => [name, childMap(section, name)]))
}

/** Lowest first, which is also the order in which they are merged. */
interface Parts {
  readonly defaults: SourceMap
  readonly groups: ReadonlyMap<string, SourceMap>
  readonly own: SourceMap
}

function groupsOf(
  target: string,
  node: SourceMap,
  groups: ReadonlyMap<string, SourceMap>,
  report: CheckReport,
): Map<string, SourceMap> {
  const list = node.entries.get('groups')?.node
  const found = new Map<string, SourceMap>()
  for (const item of list?.kind === 'list' ? list.items : []) {
    const name = item.kind === 'scalar' ? String(item.value) : ''
    const group = groups.get(name)
    if (group) found.set(name, group)
    else {
      const message = `targets.${target}: there is no group ${shownKey(name)}${didYouMean(name, [...groups.keys()])}`
      report.add({ code: 'MHV_INVENTORY_INVALID', message, place: item.place, key: `targets.${target}.groups` })
    }
  }
  return found
}

function toTarget(name: string, parts: Parts, registry: Registry, report: CheckReport): Target {
  const layers = [parts.defaults, ...parts.groups.values(), parts.own]
  const groups = [...parts.groups.keys()]
  const tags = [...new Set(layers.flatMap((layer) => texts(layer.entries.get('tags')?.node)))]
  const tier = TIERS.find((known) => known === lastText(layers, 'tier')) ?? 'prod'
  const workers = registry.workers.filter((worker) => isReached(worker, parts.own, registry))
  const blocks = workers.map((worker): [string, TargetForWorker] => {
    const { address, overrides } = toBlock(name, worker, layers, report)
    return [worker.name, deepFreeze({ target: { name, tier, tags, groups, address }, overrides })]
  })
  const description = lastText([parts.own], 'description') ?? null
  return {
    name,
    tier,
    tags,
    groups,
    description,
    workers: workers.map((worker) => worker.name),
    blocks: new Map(blocks),
  }
}

/** A target is one of a worker's by its block, or by that of the worker through whose port it is reached. */
function isReached({ name, reaches }: AnyWorker, own: SourceMap, registry: Registry): boolean {
  if (own.entries.has(name)) return true
  if (reaches === undefined) return false
  return registry.workers.some((other) => other.provides?.[reaches] !== undefined && own.entries.has(other.name))
}

/** The merged block of a worker, checked as a whole; it is the target itself that says which workers it has. */
function toBlock(name: string, worker: AnyWorker, layers: readonly SourceMap[], report: CheckReport) {
  const written = layers.flatMap((layer) => layer.entries.get(worker.name)?.node ?? [])
  const place = layers.at(-1)?.entries.get(worker.name)?.place ?? { file: 'inventory' }
  const merged = written.reduce<SourceNode>(mergeSources, emptyMap(place))
  const entries = new Map(merged.kind === 'map' ? merged.entries : [])
  const overrides = entries.get('overrides')
  entries.delete('overrides')
  const block: SourceMap = { kind: 'map', place, entries }
  const parsed = z.safeParse(worker.target as z.ZodObject, plainFor(worker.target, block))
  if (!parsed.success) reportIssues(parsed.error.issues, worker.target, block, ['targets', name, worker.name], report)
  return {
    address: parsed.data,
    overrides: (overrides?.node.kind === 'map' ? toPlain(overrides.node) : {}) as Record<string, unknown>,
  }
}

function texts(node: SourceNode | undefined): string[] {
  return node?.kind === 'list' ? node.items.map((item) => String(toPlain(item))) : []
}

function lastText(layers: readonly SourceMap[], key: string): string | undefined {
  const nodes = layers.flatMap((layer) => layer.entries.get(key)?.node ?? [])
  const last = nodes.filter((node) => node.kind === 'scalar' && typeof node.value === 'string').at(-1)
  return last === undefined ? undefined : String(toPlain(last))
}
