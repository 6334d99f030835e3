import { z } from 'zod'
import type { Registry } from '../core/registry.ts'
import { SECRET_MARK } from '../core/secret-reference.ts'
import type { AnyWorker } from '../core/worker.ts'
import { asSection, wrapped } from './check.ts'
import { deadLetterSettingsSchema, workerDeadLetterSchema } from './dead-letter-schema.ts'
import { type JsonSchema, jsonSchemaOf, jsonTypes, typeText } from './field-text.ts'
import { isolation, processSettings } from './isolation-schema.ts'
import { PROFILES } from './mcp-profiles.ts'
import { notificationSettingsSchema } from './notification-schema.ts'
import { admission, circuitBreaker, processAdmission, retry } from './resilience-schema.ts'

/** Number of the settings files' format. */
export const SETTINGS_FORMAT = 1

const count = (least: number, most: number) => z.number().int().min(least).max(most)
const MEBIBYTE = 1_048_576

const file = (path: string, what: string) =>
  z
    .string()
    .min(1)
    .max(4096)
    .regex(/^[^\0]*$/)
    .default(path)
    .describe(`${what}, relative to the instance folder`)

const names = (what: string) => z.array(z.string().min(1).max(300)).max(100).default([]).describe(what)

/** Settings of the HTTP server of `mahavishnu up`. */
export const httpSettingsSchema = z.strictObject({
  host: z
    .string()
    .min(1)
    .max(255)
    .default('127.0.0.1')
    .describe('address to listen on; with another than this one, other machines may reach it'),
  port: count(0, 65_535).default(7_420).describe('port to listen on; 0 for any that is free'),
  max_body_bytes: count(1_024, 64 * MEBIBYTE)
    .default(MEBIBYTE)
    .describe('largest body of a request'),
  rate_limit_per_second: z
    .number()
    .min(0.1)
    .max(100_000)
    .default(100)
    .describe('requests per second, on average, of one token or of one address without a token'),
  rate_limit_burst: count(1, 1_000_000).default(500).describe('requests that may come at once'),
  max_event_streams: count(0, 100_000)
    .default(100)
    .describe('event streams of runs that may be open at once; more are refused'),
  allowed_hosts: names('further values of the header Host, as clients send it: name, or name:port'),
  allowed_origins: names('origins whose pages may send requests: https://ops.example.com'),
  mcp_profile: z.enum(PROFILES).default('default').describe('which tools /mcp shows, as `mahavishnu mcp --profile`'),
  mcp_read_only: z
    .boolean()
    .default(false)
    .describe('whether /mcp shows and takes only what changes nothing; the other routes go by the policy alone'),
})

/** Bounds of what one client's spawned workers (`worker_spawn`) may hold. */
export const managerSettingsSchema = z.strictObject({
  max_spawned: count(1, 10_000).default(50).describe('spawned workers of one client at once'),
  max_concurrent: count(1, 10_000).default(10).describe('tasks of one client at once, over all its spawned workers'),
  output_bytes: count(0, 256 * MEBIBYTE)
    .default(4 * MEBIBYTE)
    .describe("bytes of one task's output that are read from the journal where the result's own text is cut"),
  history: count(1, 1_000_000).default(1_000).describe('ended tasks that worker_collect_results can still give'),
  history_characters: count(1, 1024 * MEBIBYTE)
    .default(16 * MEBIBYTE)
    .describe('characters of their results, all told; the newest stays, however long'),
})

const startupSchema = (worker: z.ZodType<string>) =>
  z
    .strictObject({
      workers: z
        .array(worker)
        .max(100)
        .default([])
        .describe('workers that `mahavishnu up` starts at once; it is ready when they are up'),
    })
    .prefault({})
    .describe('what is started before it is needed')

const core = {
  version: z
    .literal(SETTINGS_FORMAT)
    .default(SETTINGS_FORMAT)
    .describe('format of the settings file; only a file can set it'),
  admission: processAdmission.prefault({}).describe('room for runs of all workers together'),
  runs: z
    .strictObject({
      wait_seconds: z
        .number()
        .min(0)
        .max(3_600)
        .default(45)
        .describe('seconds a call waits for its run before it gets the handle instead'),
      abort_grace_seconds: z
        .number()
        .min(0)
        .max(3_600)
        .default(20)
        .describe('seconds an operation may take to end after its deadline or a cancellation'),
      drain_timeout: z
        .number()
        .min(0)
        .max(3_600)
        .default(25)
        .describe('seconds that runs get to end by themselves when `mahavishnu up` is told to stop'),
      output_head_bytes: count(0, 1024 * MEBIBYTE)
        .default(MEBIBYTE / 2)
        .describe('bytes kept in the journal of the beginning of each output stream'),
      output_tail_bytes: count(0, 1024 * MEBIBYTE)
        .default(MEBIBYTE / 2)
        .describe('bytes kept in the journal of the end of each output stream'),
      text_bytes: count(256, 16 * MEBIBYTE)
        .default(65_536)
        .describe('bytes of output that a result carries; the rest is read from the journal'),
      heal_seconds: z
        .number()
        .min(1)
        .max(3_600)
        .default(30)
        .describe('seconds between two looks for runs that nobody brings to an end'),
      idempotency_days: count(1, 365).default(7).describe('days that an idempotency key is remembered'),
    })
    .prefault({})
    .describe('what a run may take and what is kept of it'),
  journal: z
    .strictObject({
      file: file('journal/journal.db', 'file of the journal'),
      min_free_bytes: count(0, 2 ** 50)
        .default(64 * MEBIBYTE)
        .describe('free disk space, in bytes, below which no new run is taken'),
    })
    .prefault({})
    .describe('the durable record of runs'),
  policy: z
    .strictObject({ file: file('settings/policy.yaml', 'file of the policy') })
    .prefault({})
    .describe('who may do what'),
  inventory: z
    .strictObject({ file: file('settings/inventory.yaml', 'file of the inventory') })
    .prefault({})
    .describe('the targets'),
  schedules: z
    .strictObject({ file: file('settings/schedules.yaml', 'file of the schedules') })
    .prefault({})
    .describe('what is done at certain times'),
  startup: startupSchema(z.string()),
  dead_letters: deadLetterSettingsSchema.prefault({}).describe('runs that failed for good, kept to be replayed'),
  notifications: notificationSettingsSchema.prefault({}).describe('who is told what needs somebody'),
  manager: managerSettingsSchema.prefault({}).describe('spawned workers, the tools of the MCP profile upstream'),
  http: httpSettingsSchema.prefault({}).describe('the HTTP server of `mahavishnu up`'),
  log: z
    .strictObject({
      level: z.enum(['debug', 'info', 'warn', 'error']).default('info').describe('least level that is logged'),
    })
    .prefault({})
    .describe('the log, on standard error'),
}

const bandwidthLimit = count(0, 2 ** 50)
  .default(0)
  .describe('bytes per second that its transfers may send and receive, all together; 0: no limit')

const coreSchema = z.strictObject(core)
const commonSchema = z.strictObject({
  admission: admission(100, 1_000),
  circuit_breaker: circuitBreaker({ failure_threshold: 5, recovery_timeout: 60, half_open_max_calls: 1 }),
  retry: retry(),
  dead_letters: workerDeadLetterSchema,
  bandwidth_limit: bandwidthLimit,
  isolation,
  process: processSettings,
})

/** Settings of the program itself. */
export type CoreSettings = z.output<typeof coreSchema>
/** What every worker has beside its own settings. */
export type CommonWorkerSettings = z.output<typeof commonSchema>
/** All settings. A worker's are typed by `settingsFor`. */
export type Settings = CoreSettings & Readonly<Record<string, unknown>>

/** Names of the sections that no worker may be called by. */
export const CORE_SECTIONS: readonly string[] = Object.keys(core)

/** Keys of a file that environment and options cannot set. */
export const FILE_ONLY: readonly string[] = ['version']

type Workers = Pick<Registry, 'workers'>

const schemas = new WeakMap<readonly AnyWorker[], z.ZodObject>()

/** The schema of all settings: the program's own, and each worker's under its name. Throws on a defect in a worker. */
export function settingsSchema({ workers }: Workers): z.ZodObject {
  const known = schemas.get(workers)
  if (known) return known
  const sections = workers.map((worker) => {
    if (CORE_SECTIONS.includes(worker.name)) throw new Error(`a worker may not be called "${worker.name}"`)
    return [worker.name, workerSettingsSchema(worker).prefault({}).describe(worker.title)] as const
  })
  const startup = startupSchema(z.enum(workers.map(({ name }) => name)))
  const schema = z.strictObject({ ...core, startup, ...Object.fromEntries(sections) })
  refuseNames(schema, [])
  schemas.set(workers, schema)
  return schema
}

const workerSchemas = new WeakMap<AnyWorker, z.ZodObject>()

/** A worker's own settings and the common ones. */
export function workerSettingsSchema(worker: AnyWorker): z.ZodObject {
  const known = workerSchemas.get(worker)
  if (known) return known
  const own = worker.settings as z.ZodObject
  const common = {
    admission: admission(100, 1_000),
    circuit_breaker: circuitBreaker(worker.breaker),
    retry: retry(),
    dead_letters: workerDeadLetterSchema,
    bandwidth_limit: bandwidthLimit,
    isolation,
    process: processSettings,
  }
  const taken = Object.keys(common).filter((name) => Object.hasOwn(own.shape, name))
  if (taken.length > 0) throw new Error(`worker "${worker.name}" declares settings that every worker has: ${taken}`)
  const schema = own
    .safeExtend({
      admission: common.admission.prefault({}).describe('room for runs of this worker'),
      circuit_breaker: common.circuit_breaker.prefault({}).describe('when calls to a failing target are held back'),
      retry: common.retry.prefault({}).describe('waits between attempts, and how many of them a target may cost'),
      dead_letters: common.dead_letters.prefault({}).describe('where its dead letters differ from all others'),
      bandwidth_limit: common.bandwidth_limit,
      isolation: common.isolation,
      process: common.process.prefault({}).describe('limits of its own process'),
    })
    .strict()
  workerSchemas.set(worker, schema)
  return schema
}

/** Names of the environment are derived from those of the settings and back: that takes this form. */
const NAME = /^[a-z][a-z0-9]*(_[a-z0-9]+)*$/

function refuseNames(section: z.ZodObject, path: readonly string[]): void {
  for (const [key, schema] of Object.entries(section.shape)) {
    if (!NAME.test(key)) throw new Error(`setting "${[...path, key].join('.')}" must be named like "max_connections"`)
    const inner = asSection(schema)
    if (inner) refuseNames(inner, [...path, key])
  }
}

/** One setting: everything that is known of it without looking at any layer. */
export interface SettingField {
  /** `ssh.max_connections` */
  readonly key: string
  readonly path: readonly string[]
  readonly schema: z.core.$ZodType
  readonly description: string
  /** Undefined for a setting that may be left out and has no default. */
  readonly default: unknown
  /** What it takes, in words. */
  readonly type: string
  /** JSON types it takes: string, number, boolean, null, array, object. */
  readonly json: ReadonlySet<string>
  /** Its variable, or undefined for what only a file can set. */
  readonly env: string | undefined
  /** A reference to a secret, or something that has such references in it. */
  readonly secret: boolean
}

const fieldLists = new WeakMap<readonly AnyWorker[], readonly SettingField[]>()

/** Every setting there is, in the order of the schema. */
export function settingFields(registry: Workers): readonly SettingField[] {
  const known = fieldLists.get(registry.workers)
  if (known) return known
  const fields = fieldsOf(settingsSchema(registry), [])
  fieldLists.set(registry.workers, fields)
  return fields
}

function fieldsOf(section: z.ZodObject, path: readonly string[]): SettingField[] {
  return Object.entries(section.shape).flatMap(([key, schema]) => {
    const inner = asSection(schema)
    return inner ? fieldsOf(inner, [...path, key]) : [toField(schema, [...path, key])]
  })
}

/** What takes a JSON Schema is made when it is read: every start looks for all settings, and reads few of them. */
function toField(schema: z.core.$ZodType, path: readonly string[]): SettingField {
  let made: JsonSchema | undefined
  const json = () => {
    made ??= jsonSchemaOf(schema)
    return made
  }
  const [first = ''] = path
  return {
    key: path.join('.'),
    path,
    schema,
    env: FILE_ONLY.includes(first) ? undefined : envName(path),
    get description() {
      return descriptionOf(schema)
    },
    get default() {
      return z.safeParse(schema, undefined).data
    },
    get type() {
      return typeText(json())
    },
    get json() {
      return jsonTypes(json())
    },
    get secret() {
      return JSON.stringify(json()).includes(SECRET_MARK)
    },
  }
}

/** `.describe()` before or after `.default()`: both are found. */
function descriptionOf(schema: z.core.$ZodType): string {
  const own = z.globalRegistry.get(schema)?.description
  const inner = wrapped(schema)
  return own ?? (inner === undefined ? '' : descriptionOf(inner))
}

export const ENV_PREFIX = 'MAHAVISHNU_'

/** `MAHAVISHNU_SSH__MAX_CONNECTIONS` of `ssh.max_connections`. */
export function envName(path: readonly string[]): string {
  return ENV_PREFIX + path.map((part) => part.toUpperCase()).join('__')
}

/** The path of a variable's name, or undefined where it is not one of ours in form. */
export function envPath(name: string): readonly string[] | undefined {
  if (!name.startsWith(ENV_PREFIX)) return undefined
  const path = name.slice(ENV_PREFIX.length).split('__')
  const parts = path.map((part) => part.toLowerCase())
  return parts.every((part) => NAME.test(part)) && envName(parts) === name ? parts : undefined
}
