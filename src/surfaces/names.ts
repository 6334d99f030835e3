import { ENVELOPE_NAMES } from '../core/operation.ts'
import type { RegisteredOperation, Registry } from '../core/registry.ts'
import { CONTROL_CALLS, type ControlCall } from '../runtime/control.ts'

/** How one operation, or one control call, is called on each surface. */
export interface Name {
  readonly kind: 'operation' | 'control'
  /** `worker.verb`, or the name of the control call. */
  readonly id: string
  readonly mcp: string
  readonly cli: readonly [noun: string, verb: string]
  /** `POST /v1/workers/ssh/operations/execute` */
  readonly http: string
}

/** What decides how a control call is called. */
export type NamedControl = Pick<ControlCall, 'name' | 'cli' | 'shortcut' | 'effect' | 'argument'>

/** Words of the command line that are no worker: the program's own commands, now and planned. */
export const RESERVED_NOUNS = [
  'runs',
  'workers',
  'config',
  'doctor',
  'mcp',
  'up',
  'completion',
  'complete',
  'help',
  'version',
  'approvals',
  'dlq',
  'batches',
  'schedules',
  'breakers',
  'explain',
] as const

/** Options that every command has, and `--yes` of what may destroy; no field of an input may be called like one. */
export const GLOBAL_FLAGS = ['folder', 'set', 'json', 'quiet', 'help', 'version', 'yes'] as const

/** Tool names that every client takes: at most 64 characters of this form. */
const MCP_NAME = /^[a-z][a-z0-9_]{0,63}$/

/** The whole table of names. Throws where two things would be called the same: a defect, found at start. */
export function nameTable(
  registry: Pick<Registry, 'operations'>,
  controls: readonly NamedControl[] = CONTROL_CALLS,
): readonly Name[] {
  const names = [...registry.operations.map(operationName), ...controls.map(controlName)]
  for (const { id, kind, mcp, cli } of names) {
    if (!MCP_NAME.test(mcp)) throw new Error(`"${id}": "${mcp}" is no name for an MCP tool`)
    if (kind === 'operation' && (RESERVED_NOUNS as readonly string[]).includes(cli[0])) {
      throw new Error(`"${id}": no worker may be called "${cli[0]}" on the command line, which is a command already`)
    }
  }
  for (const operation of registry.operations) refuseFlags(operation)
  refuseShortcuts(controls)
  refuseTwins(names, 'MCP tool', ({ mcp }) => mcp)
  refuseTwins(names, 'command', ({ cli }) => cli.join(' '))
  refuseTwins(names, 'HTTP route', ({ http }) => http)
  return names
}

export function operationName({ id, worker, verb, spec }: RegisteredOperation): Name {
  return {
    kind: 'operation',
    id,
    mcp: spec.mcpName ?? id.replaceAll('.', '_'),
    cli: [dashed(worker.name), dashed(spec.cli?.verb ?? verb)],
    http: `POST ${operationPath({ worker, verb })}`,
  }
}

/** Path of an operation over HTTP: `/v1/workers/ssh/operations/execute`. */
export function operationPath({ worker, verb }: Pick<RegisteredOperation, 'worker' | 'verb'>): string {
  return `/v1/workers/${worker.name}/operations/${verb}`
}

export function controlName(call: NamedControl): Name {
  const { name, cli } = call
  const { method, path } = controlRoute(call)
  return { kind: 'control', id: name, mcp: name, cli, http: `${method} ${path}` }
}

/** Where a control call is found over HTTP. */
export interface ControlRoute<C = ControlCall> {
  readonly call: C
  readonly method: 'GET' | 'POST'
  /** `/v1/runs/{run_id}/output` */
  readonly path: string
  /** The field of the input that stands in the path; null where none does. */
  readonly pathField: string | null
}

/**
 * The route of a control call, derived as its command is: `run_list` is `GET /v1/runs`, `run_get` is
 * `GET /v1/runs/{run_id}`, `run_cancel` is `POST /v1/runs/{run_id}/cancel`.
 */
export function controlRoute<C extends NamedControl>(call: C): ControlRoute<C> {
  const [noun] = call.cli
  const verb = dashed(call.name.slice(call.name.indexOf('_') + 1))
  const pathField = call.argument ?? null
  const one = pathField === null ? '' : `/{${pathField}}`
  const last = ['list', 'get', 'show'].includes(verb) ? '' : `/${verb}`
  return { call, method: call.effect === 'read' ? 'GET' : 'POST', path: `/v1/${noun}${one}${last}`, pathField }
}

/** `--idempotency-key` of `idempotency_key`. */
export function flagOf(field: string): string {
  return `--${dashed(field)}`
}

function dashed(name: string): string {
  return name.replaceAll('_', '-')
}

/** An option that would mean two things: of the program, of the envelope, or `--stdin` beside a field of that name. */
function refuseFlags({ id, spec }: RegisteredOperation): void {
  const stdin = spec.cli?.stdin !== undefined && spec.cli.stdin !== 'stdin' ? ['stdin'] : []
  const taken: readonly string[] = [...GLOBAL_FLAGS, ...ENVELOPE_NAMES.map(dashed), ...stdin]
  for (const field of Object.keys(spec.input.shape)) {
    if (taken.includes(dashed(field))) throw new Error(`"${id}": its field "${field}" would be an option that exists`)
    // `--no-x` is how a field `x` is turned off.
    if (field.startsWith('no_')) throw new Error(`"${id}": its field "${field}" must be named by what it turns on`)
  }
}

/** A shortcut stands where the nouns do: it has to be reserved, and mean one thing. */
function refuseShortcuts(controls: readonly NamedControl[]): void {
  const nouns = new Set(controls.map(({ cli }) => cli[0]))
  for (const { name, shortcut } of controls) {
    if (shortcut === undefined) continue
    if (!(RESERVED_NOUNS as readonly string[]).includes(shortcut)) {
      throw new Error(`"${name}": its shortcut "${shortcut}" must be among the reserved words`)
    }
    if (nouns.has(shortcut)) throw new Error(`"${name}": its shortcut "${shortcut}" is a group of commands already`)
    nouns.add(shortcut)
  }
}

function refuseTwins(names: readonly Name[], what: string, of: (name: Name) => string): void {
  const seen = new Map<string, string>()
  for (const name of names) {
    const key = of(name)
    const other = seen.get(key)
    if (other !== undefined) throw new Error(`"${other}" and "${name.id}" would both be the ${what} "${key}"`)
    seen.set(key, name.id)
  }
}
