import { z } from 'zod'
import { isoTime } from '../core/clock.ts'
import { ERROR_CODES } from '../core/error-table.ts'
import { mhvError } from '../core/errors.ts'
import { EFFECTS, type Effect, narrower, PRIORITIES } from '../core/operation.ts'
import type { Registry } from '../core/registry.ts'
import { MAX_SELECTOR } from '../core/selector.ts'
import { DECISIONS } from '../governance/policy.ts'
import { BATCH_EVENT_TYPES, BATCH_STATES, type BatchRecord } from '../store/batch.ts'
import type { Batches } from './batch.ts'
import { findBatch } from './batch.ts'
import { groupSchema, groupsOf } from './batch-groups.ts'
import { planBatch } from './batch-plan.ts'
import { isOpen } from './batch-run.ts'
import type { ControlCall, ControlParts } from './control.ts'
import { control } from './define-control.ts'

/** Batches as people and agents plan, start, watch and stop them. */

const EXAMPLE_BATCH = '01K5E2W9QZ3V7M4T8N6R1XJYHD'
const MAX_WAIT_SECONDS = 45
const MAX_PARALLEL = 200
/** Most targets and events of one answer. */
const MAX_EVENTS = 200

const batchId = z.string().max(100).describe('ULID of the batch')
const reason = z.string().max(500).optional().describe('why; kept with the batch and its runs')
const seconds = (most = MAX_WAIT_SECONDS) =>
  z.number().min(0).max(MAX_WAIT_SECONDS).default(most).describe('longest wait for its end; it goes on after that')

const request = {
  operation: z.string().max(200).describe('id of the operation, worker.verb'),
  select: z
    .string()
    .min(1)
    .max(MAX_SELECTOR)
    .describe('which targets: `tag:web and not tier:prod`, `group:eu or db-*`, `web-1,web-2`'),
  input: z.record(z.string(), z.unknown()).default({}).describe('input of the operation, the same for every target'),
  batch_size: z
    .string()
    .regex(/^([1-9]\d{0,4}|([1-9]\d?|100)%)$/, { error: 'must be a count such as 5, or percent such as 25%' })
    .optional()
    .describe('targets of one batch, 5 or 25%: the next begins when it has ended; default: all in one'),
  parallel: z.number().int().min(1).max(MAX_PARALLEL).default(10).describe('most runs at once'),
  max_fail: z
    .number()
    .int()
    .min(0)
    .optional()
    .describe('most targets that may fail before the rest is left alone; default: 0, for a read all'),
  max_fail_percent: z
    .number()
    .min(0)
    .max(100)
    .optional()
    .describe('the same in percent of all targets; with both, the smaller counts'),
  timeout: z.number().positive().max(86_400).optional().describe('deadline of each run in seconds'),
  priority: z.enum(PRIORITIES).default('normal').describe('order in the queue'),
  reason,
}

const batchSchema = z.object({
  batch_id: z.string(),
  operation: z.string(),
  effect: z.enum(EFFECTS),
  state: z.enum(BATCH_STATES),
  select: z.string(),
  principal: z.string(),
  done: z.number().int().describe('targets with an outcome, failed ones included'),
  failed: z.number().int(),
  refused: z.number().int().describe('of the failed: those for which there was no run'),
  total: z.number().int(),
  batches: z.number().int(),
  parallel: z.number().int(),
  failure_limit: z.number().int().nullable().describe('most targets that may fail; null: all'),
  error_code: z.enum(ERROR_CODES).nullable(),
  plan_digest: z.string(),
  rerun_of: z.string().nullable(),
  created_at: z.string(),
  finished_at: z.string().nullable(),
})

function shown({ id, facts, progress, ...record }: BatchRecord): z.output<typeof batchSchema> {
  const { effect, select, parallel, failure_limit, plan_digest, rerun_of, batches } = facts
  const { operation, state, principal, created_at, finished_at } = record
  return {
    batch_id: id,
    ...{ operation, effect, state, select, principal },
    ...progress,
    batches: batches.length,
    ...{ parallel, failure_limit, plan_digest, rerun_of },
    created_at: isoTime(created_at),
    finished_at: finished_at === null ? null : isoTime(finished_at),
  }
}

const answer = z.object({
  batch: batchSchema,
  ended: z.boolean(),
  groups: z.array(groupSchema).describe('targets by what came out, the most frequent first'),
})

async function answered(parts: ControlParts, record: BatchRecord) {
  return { batch: shown(record), ended: !isOpen(record.state), groups: await groupsOf(parts.store, record) }
}

function batchesOf({ batches }: ControlParts): Batches {
  if (batches !== undefined) return batches
  throw mhvError('MHV_INTERNAL', 'this call needs a running instance')
}

/** The most that a call of the operation with this input may change: what is asked before it is confirmed. */
function effectOfCall(registry: Registry, operation: string, input: unknown): Effect {
  const { spec } = registry.operation(operation)
  if (spec.effectOf === undefined) return spec.effect
  const parsed = z.safeParse(spec.input, input)
  // The call will be refused for it.
  return parsed.success ? narrower(spec.effect, spec.effectOf(parsed.data)) : 'read'
}

const planErrors = [
  'MHV_OPERATION_UNKNOWN',
  'MHV_TARGET_UNKNOWN',
  'MHV_TARGET_UNSUPPORTED',
  'MHV_SELECTOR_INVALID',
  'MHV_SELECTOR_EMPTY',
] as const

const EXAMPLE = { operation: 'ssh.execute', select: 'web-* and not tier:staging', input: { command: 'uptime' } }

const batchPlan = control({
  name: 'batch_plan',
  cli: ['batches', 'plan'],
  title: 'Plan a batch',
  summary:
    'Shows what a batch would do and changes nothing: the targets in their batches, what the policy says to each, and a digest.',
  effect: 'read',
  needsRuntime: false,
  input: z.object(request),
  output: z.object({
    operation: z.string(),
    effect: z.enum(EFFECTS),
    total: z.number().int(),
    allowed: z.number().int().describe('targets on which the policy allows it; the batch needs all of them'),
    batches: z.array(
      z.array(
        z.object({
          target: z.string(),
          tier: z.string(),
          decision: z.enum(DECISIONS),
          rule: z.string().nullable(),
        }),
      ),
    ),
    parallel: z.number().int(),
    failure_limit: z.number().int().nullable().describe('most targets that may fail; null: all'),
    plan_digest: z.string().describe('for batch_run: it then does this or nothing'),
  }),
  argument: 'operation',
  errors: planErrors,
  example: EXAMPLE,
  async run(parts, input, principal) {
    const { operation, effect, targets, batches, parallel, failure_limit, digest } = planBatch(parts, input, principal)
    return {
      operation,
      effect,
      total: targets.length,
      allowed: targets.filter(({ decision }) => decision === 'allow').length,
      batches: batches.map((_names, index) =>
        targets.flatMap(({ batch, ...target }) => (batch === index + 1 ? [target] : [])),
      ),
      parallel,
      failure_limit,
      plan_digest: digest,
    }
  },
})

const batchRun = control({
  name: 'batch_run',
  cli: ['batches', 'run'],
  title: 'Run a batch',
  summary:
    'Runs one operation on all targets that a selector takes, in batches, until too many have failed. Each target is a run of its own, authorised by itself.',
  effect: 'destroy',
  effectOf: (registry, { operation, input }) => effectOfCall(registry, operation, input ?? {}),
  authorisedEach: true,
  needsRuntime: true,
  input: z.object({
    ...request,
    idempotency_key: z
      .string()
      .min(1)
      .max(200)
      .optional()
      .describe('the same key with the same request is the same batch, however often it is asked for'),
    plan_digest: z.string().max(200).optional().describe('of the plan that was looked at: anything else is refused'),
    seconds: seconds(),
  }),
  output: answer,
  argument: 'operation',
  errors: [...planErrors, 'MHV_PLAN_CHANGED', 'MHV_IDEMPOTENCY_MISMATCH', 'MHV_SHUTTING_DOWN'],
  example: { ...EXAMPLE, batch_size: '25%', max_fail: 1 },
  async run(parts, { seconds: wait, ...input }, principal, signal) {
    const batches = batchesOf(parts)
    const { id } = await batches.start(input, principal)
    return answered(parts, await batches.wait(id, wait, signal))
  },
})

/** How often a process that does not hold the instance looks into the journal, in milliseconds. */
const POLL_MS = 500

async function waitForBatch(
  { batches, store, clock }: ControlParts,
  id: string,
  wait: number,
  signal: AbortSignal,
): Promise<BatchRecord> {
  if (batches !== undefined) return batches.wait(id, wait, signal)
  const until = clock.monotonic() + wait * 1000
  for (;;) {
    const record = await findBatch(store, id)
    if (!isOpen(record.state) || clock.monotonic() >= until) return record
    await clock.sleep(POLL_MS, signal)
  }
}

const batchGet = control({
  name: 'batch_get',
  cli: ['batches', 'show'],
  title: 'Show a batch',
  summary: 'Shows how far a batch is, its targets grouped by identical outcome and output, and its event log.',
  effect: 'read',
  needsRuntime: false,
  input: z.object({
    batch_id: batchId,
    seconds: seconds(0),
    brief: z.boolean().default(false).describe('only how far it is: without groups and events'),
    since_event: z
      .number()
      .int()
      .min(0)
      .default(0)
      .describe('only events with a greater seq: next_event of the answer before'),
  }),
  output: answer.extend({
    events: z.array(
      z.object({
        seq: z.number().int(),
        at: z.string(),
        type: z.enum(BATCH_EVENT_TYPES),
        data: z.record(z.string(), z.unknown()),
      }),
    ),
    next_event: z.number().int().nullable().describe('since_event of the next call; null when these were the last'),
  }),
  argument: 'batch_id',
  page: { input: 'since_event', output: 'next_event' },
  errors: ['MHV_BATCH_UNKNOWN'],
  example: { batch_id: EXAMPLE_BATCH },
  async run(parts, { batch_id, seconds: wait, brief, since_event }, _principal, signal) {
    const { store } = parts
    const record = await waitForBatch(parts, batch_id, wait, signal)
    if (brief) return { batch: shown(record), ended: !isOpen(record.state), groups: [], events: [], next_event: null }
    // One more than fits tells whether there is a next page.
    const found = await store.getBatchEvents(batch_id, since_event, MAX_EVENTS + 1)
    const events = found.slice(0, MAX_EVENTS)
    return {
      ...(await answered(parts, record)),
      events: events.map(({ at, ...event }) => ({ ...event, at: isoTime(at) })),
      next_event: found.length > events.length ? (events.at(-1)?.seq ?? null) : null,
    }
  },
})

const batchList = control({
  name: 'batch_list',
  cli: ['batches', 'list'],
  title: 'List batches',
  summary: 'Lists batches, newest first, by state and operation.',
  effect: 'read',
  needsRuntime: false,
  input: z.object({
    state: z.enum(BATCH_STATES).optional().describe('how far it is'),
    operation: z.string().optional().describe('id of the operation, worker.verb'),
    limit: z.number().int().min(1).max(200).default(20).describe('most batches of one answer'),
    before: z.string().optional().describe('only batches before this one: next of the answer before'),
  }),
  output: z.object({ batches: z.array(batchSchema), next: z.string().nullable() }),
  page: { input: 'before', output: 'next' },
  example: { state: 'running', limit: 5 },
  async run({ store }, { state, limit, ...rest }) {
    const found = await store.listBatches({ ...rest, limit, ...(state === undefined ? {} : { state: [state] }) })
    return { batches: found.map(shown), next: found.length === limit ? (found.at(-1)?.id ?? null) : null }
  },
})

const batchStop = control({
  name: 'batch_stop',
  cli: ['batches', 'stop'],
  title: 'Stop a batch',
  summary: 'Makes no new runs from now on. Those that are there come to their end, or are cancelled as well.',
  effect: 'write',
  needsRuntime: true,
  input: z.object({
    batch_id: batchId,
    cancel: z.boolean().default(false).describe('cancel the runs that are there'),
    seconds: seconds(),
  }),
  output: answer,
  argument: 'batch_id',
  errors: ['MHV_BATCH_UNKNOWN'],
  example: { batch_id: EXAMPLE_BATCH },
  async run(parts, { batch_id, cancel, seconds: wait }, principal, signal) {
    const batches = batchesOf(parts)
    await batches.stop(batch_id, principal, cancel)
    await auditStop(parts, principal.id, { batch_id, cancel })
    return answered(parts, await batches.wait(batch_id, wait, signal))
  },
})

/** A journal without room must not keep anybody from stopping a batch, so it is stopped first. */
function auditStop({ store, clock }: ControlParts, principal: string, details: Record<string, unknown>): Promise<void> {
  const decided = { target: null, decision: 'allow', rule: null, run_id: null } as const
  return store.appendAudit({ at: clock.now(), principal, action: 'batch_stop', ...decided, details })
}

const batchResume = control({
  name: 'batch_resume',
  cli: ['batches', 'resume'],
  title: 'Resume a batch',
  summary:
    'Goes on with a batch that the end of its process has cut off, as whoever asked for it. No target is run twice.',
  effect: 'write',
  needsRuntime: true,
  input: z.object({ batch_id: batchId, seconds: seconds() }),
  output: answer,
  argument: 'batch_id',
  errors: ['MHV_BATCH_UNKNOWN'],
  example: { batch_id: EXAMPLE_BATCH },
  async run(parts, { batch_id, seconds: wait }, _principal, signal) {
    const batches = batchesOf(parts)
    await batches.resume(batch_id)
    return answered(parts, await batches.wait(batch_id, wait, signal))
  },
})

const batchRerun = control({
  name: 'batch_rerun',
  cli: ['batches', 'rerun'],
  title: 'Run the failed of a batch again',
  summary:
    'Runs a new batch over those targets of an ended one that failed and have not gone well since, as whoever asks now.',
  effect: 'destroy',
  authorisedEach: true,
  needsRuntime: true,
  input: z.object({
    batch_id: batchId,
    rest: z.boolean().default(false).describe('also those that were left alone'),
    reason,
    seconds: seconds(),
  }),
  output: answer,
  argument: 'batch_id',
  errors: ['MHV_BATCH_UNKNOWN', 'MHV_BATCH_STATE', 'MHV_SHUTTING_DOWN'],
  example: { batch_id: EXAMPLE_BATCH },
  async run(parts, { batch_id, rest, reason: why, seconds: wait }, principal, signal) {
    const batches = batchesOf(parts)
    const { id } = await batches.rerun(batch_id, { rest, reason: why }, principal)
    return answered(parts, await batches.wait(id, wait, signal))
  },
})

const calls = [batchPlan, batchRun, batchGet, batchList, batchStop, batchResume, batchRerun]

/** Found and called like operations where a client sees a bounded number of tools. */
export const BATCH_CALLS: readonly ControlCall[] = calls.map((call) => ({ ...call, onDemand: true }))
