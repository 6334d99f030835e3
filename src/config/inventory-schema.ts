import { z } from 'zod'
import { TIERS } from '../core/context.ts'
import type { Registry } from '../core/registry.ts'
import type { AnyWorker } from '../core/worker.ts'
import { asSection } from './check.ts'
import { workerSettingsSchema } from './schema.ts'

/** Number of the inventory's format. */
export const INVENTORY_FORMAT = 1

/** Names of targets and groups. No leading dash: names reach command lines. */
export const TARGET_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/

const name = () =>
  z.string().regex(TARGET_NAME, {
    error: 'must be letters, digits, dots, dashes and underscores, 128 at most, the first a letter or digit',
  })
const tier = () => z.enum(TIERS).optional().describe('how careful to be; without one a target counts as prod')
const tags = () =>
  z
    .array(z.string().regex(/^[^\s,]{1,128}$/, { error: 'must be a list of words without spaces and commas' }))
    .max(100)
    .optional()
    .describe('words that policies and rollouts select by; those of groups are added')

/** What a target may have beside the blocks of workers. */
const own = {
  tier: tier(),
  tags: tags(),
  groups: z
    .array(name())
    .max(100)
    .optional()
    .describe('groups whose values this target takes over, the later over the earlier'),
  description: z.string().max(1_000).optional().describe('what it is, for people'),
}

/** Keys of a target that are no worker's block. */
export const TARGET_KEYS: readonly string[] = Object.keys(own)

export interface InventorySchemas {
  /** `defaults` and each of `groups`. */
  readonly group: z.ZodObject
  readonly target: z.ZodObject
  readonly file: z.ZodObject
}

const cache = new WeakMap<readonly AnyWorker[], InventorySchemas>()

/**
 * Schemas of what is written in an inventory, all of it partial: a required field of a worker's block may come from a
 * group. The merged block is checked against the worker's own schema.
 */
export function inventorySchemas({ workers }: Pick<Registry, 'workers'>): InventorySchemas {
  const known = cache.get(workers)
  if (known) return known
  const blocks = Object.fromEntries(workers.map((worker) => [worker.name, block(worker)]))
  const group = z.strictObject({ tier: own.tier, tags: own.tags, ...blocks })
  const target = z.strictObject({ ...own, ...blocks })
  const file = z.strictObject({
    version: z.literal(INVENTORY_FORMAT).describe('format of the inventory'),
    defaults: group.optional().describe('values of every target'),
    groups: z.record(name(), group).optional().describe('values of all targets of a group'),
    targets: z.record(name(), target).optional().describe('the targets by name'),
  })
  const schemas = { group, target, file }
  cache.set(workers, schemas)
  return schemas
}

function block(worker: AnyWorker): z.ZodOptional<z.ZodObject> {
  const target = worker.target as z.ZodObject
  if (TARGET_KEYS.includes(worker.name)) throw new Error(`a worker may not be called "${worker.name}"`)
  if (Object.hasOwn(target.shape, 'overrides'))
    throw new Error(`worker "${worker.name}" declares "overrides" of a target`)
  const overrides = partial(ofTarget(worker)).optional().describe('settings that differ for this target')
  return z
    .strictObject({ ...partial(target).shape, overrides })
    .optional()
    .describe(worker.title)
}

/** A worker's settings without those of its process: all its targets have that in common. */
function ofTarget(worker: AnyWorker): z.ZodObject {
  const { isolation: _isolation, process: _process, ...fields } = workerSettingsSchema(worker).shape
  return z.strictObject(fields)
}

/** All fields optional and without defaults, sections in it too: what is not written is not there. */
function partial(section: z.ZodObject): z.ZodObject {
  const fields = Object.entries(section.shape).map(([key, schema]) => {
    const inner = asSection(schema)
    if (inner) return [key, partial(inner).optional()]
    return [key, z.optional(schema)]
  })
  return z.strictObject(Object.fromEntries(fields))
}
