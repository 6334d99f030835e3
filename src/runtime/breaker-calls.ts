import { z } from 'zod'
import type { Principal } from '../core/context.ts'
import { mhvError } from '../core/errors.ts'
import { BREAKER_STATES, type BreakerChange, FORCED_STATES, type ForcedState } from '../resilience/circuit-breaker.ts'
import type { NamedBreaker } from '../resilience/circuit-breakers.ts'
import type { ControlParts } from './control.ts'
import { control } from './define-control.ts'

/** The circuit breakers as people and agents see and hold them. */

const breakerSchema = z.object({
  worker: z.string(),
  target: z.string(),
  state: z.enum(BREAKER_STATES),
  forced: z
    .enum(['open', 'closed'])
    .nullable()
    .describe('what an operator holds it at; null while it decides by itself'),
  failures: z.number().int().describe('failures within the window, or those that opened it'),
  calls: z.number().int().describe('calls with an outcome within the window'),
  open_until: z.string().nullable().describe('until when calls are held back, ISO 8601'),
})

function shown({ open_until, ...breaker }: NamedBreaker): z.output<typeof breakerSchema> {
  return { ...breaker, open_until: open_until === null ? null : new Date(open_until).toISOString() }
}

function breakersOf({ runtime }: ControlParts) {
  if (runtime !== null) return runtime.breakers
  throw mhvError('MHV_INTERNAL', 'this call needs a running instance')
}

const listInput = z.object({
  worker: z.string().optional().describe('only those of this worker'),
  on: z.string().optional().describe('only that of this target'),
})

export const breakerList = control({
  name: 'breaker_list',
  cli: ['breakers', 'list'],
  title: 'List circuit breakers',
  summary: 'Lists the circuit breakers that hold calls back, are forced by an operator, or have counted failures.',
  effect: 'read',
  needsRuntime: true,
  onDemand: true,
  input: listInput,
  output: z.object({ breakers: z.array(breakerSchema) }),
  example: { worker: 'ssh' },
  async run(parts, { worker, on }) {
    const wanted = ({ worker: of, target }: NamedBreaker) =>
      (worker === undefined || worker === of) && (on === undefined || on === target)
    return { breakers: breakersOf(parts).list().filter(wanted).map(shown) }
  },
})

const forceInput = z.object({
  on: z.string().describe('name of the target'),
  worker: z.string().describe('name of the worker'),
  state: z
    .enum(FORCED_STATES)
    .describe(
      'open: holds calls back until told otherwise; closed: lets all through; auto: it decides by itself, afresh',
    ),
  reason: z.string().max(500).optional().describe('why; kept in the audit trail'),
})

export const breakerForce = control({
  name: 'breaker_force',
  cli: ['breakers', 'force'],
  title: 'Force a circuit breaker',
  summary: 'Holds the circuit breaker of a target open or closed, or leaves it to itself again.',
  effect: 'write',
  needsRuntime: true,
  onDemand: true,
  input: forceInput,
  output: z.object({ breaker: breakerSchema, changed: z.boolean() }),
  argument: 'on',
  errors: ['MHV_WORKER_UNKNOWN', 'MHV_TARGET_UNKNOWN', 'MHV_TARGET_UNSUPPORTED', 'MHV_INSTANCE_FENCED'],
  example: { on: 'web-1', worker: 'ssh', state: 'open', reason: 'maintenance' },
  about: ({ worker, on }) => ({ worker, target: on }),
  async run(parts, { on, worker, state, reason }, principal) {
    const breakers = breakersOf(parts)
    // Both throw for a name that does not exist.
    const { name } = parts.registry.worker(worker)
    const { target } = parts.environment.resolveTarget(on, name)
    // A journal without room must not keep anybody from protecting a target, so it is forced first.
    const change = await breakers.force(name, target.name, state)
    await auditForce(parts, { principal, worker: name, target: target.name, state, reason, change })
    const view = breakers.of(name, target.name, parts.environment.breakerLimits(name)).view()
    return { breaker: shown({ worker: name, target: target.name, ...view }), changed: change !== null }
  },
})

interface Forced {
  readonly principal: Principal
  readonly worker: string
  readonly target: string
  readonly state: ForcedState
  readonly reason: string | undefined
  readonly change: BreakerChange | null
}

function auditForce(parts: ControlParts, forced: Forced): Promise<void> {
  const { principal, worker, target, state, reason, change } = forced
  return parts.store.appendAudit({
    at: parts.clock.now(),
    principal: principal.id,
    action: 'breaker_force',
    target,
    decision: 'allow',
    rule: null,
    run_id: null,
    details: {
      worker,
      state,
      before: change?.from ?? null,
      after: change?.to ?? null,
      ...(reason === undefined ? {} : { reason: parts.redactor.text(reason) }),
    },
  })
}
