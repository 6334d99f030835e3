import { createHash } from 'node:crypto'
import type { Principal, ResolvedTarget, Tier } from '../core/context.ts'
import { mhvError, toMhvError } from '../core/errors.ts'
import type { Effect, Priority } from '../core/operation.ts'
import { matcherOf, namedTargets, parseSelector } from '../core/selector.ts'
import { quoted } from '../core/suggest.ts'
import { type Decision, decideAll } from '../governance/policy.ts'
import type { ControlParts } from './control.ts'
import { authoriseAll, questionsOf } from './steps/authorise.ts'
import { canonicalJson, parseCall } from './steps/parse.ts'

/** Most targets of one batch. */
export const MAX_TARGETS = 10_000

/** How a batch goes over its targets. */
export interface BatchOptions {
  /** Targets of one batch, which begins when the one before has ended: `5`, or `25%` of all. Absent: all at once. */
  readonly batch_size?: string | undefined
  /** Most runs at once. */
  readonly parallel: number
  /** Most targets that may fail over the whole run; with both, the smaller. Absent: none, of a read all. */
  readonly max_fail?: number | undefined
  /** The same in percent of all targets. */
  readonly max_fail_percent?: number | undefined
  /** Deadline of each run in seconds. */
  readonly timeout?: number | undefined
  readonly priority: Priority
  readonly reason?: string | undefined
}

export interface BatchRequest extends BatchOptions {
  readonly operation: string
  readonly input: unknown
  readonly select: string
  /** Instead of what the selector takes, in this order: the targets of a rerun. */
  readonly targets?: readonly string[]
}

export interface StartRequest extends BatchRequest {
  /** Digest of the plan that was looked at; what would be done now has to be the same. */
  readonly plan_digest?: string | undefined
  readonly rerun_of?: string
  /** The same key with the same request is the same batch, however often it is asked for. */
  readonly idempotency_key?: string | undefined
}

export interface PlannedTarget {
  readonly target: string
  readonly tier: Tier
  /** 1 for the first batch. */
  readonly batch: number
  readonly decision: Decision
  /** The rule that decided; null where none matched, which is a denial. */
  readonly rule: string | null
}

export interface BatchPlan {
  readonly operation: string
  readonly effect: Effect
  /** Normalised. */
  readonly input: unknown
  readonly batches: readonly (readonly string[])[]
  readonly targets: readonly PlannedTarget[]
  readonly parallel: number
  /** Most targets that may fail; null: all of them. */
  readonly failure_limit: number | null
  /** SHA-256 over what would be done, hex: another inventory, policy, input or option gives another one. */
  readonly digest: string
}

type PlanParts = Pick<ControlParts, 'registry' | 'environment' | 'policy' | 'redactor'>

/**
 * Works out what a batch would do: which targets, in which batches, and what the policy says to each. Changes nothing.
 * Throws what the call of the operation would throw for its input, MHV_SELECTOR_INVALID, MHV_SELECTOR_EMPTY,
 * MHV_TARGET_UNKNOWN and MHV_TARGET_UNSUPPORTED for a name that is listed.
 */
export function planBatch(parts: PlanParts, request: BatchRequest, principal: Principal): BatchPlan {
  const { operation: id, input: given } = request
  const call = parseCall(parts.registry, parts.redactor, {
    operation: id,
    input: given,
    envelope: { reason: request.reason },
    principal,
    surface: 'batch',
  })
  const { operation, effect, input } = call
  if (operation.spec.targeted === false) throw mhvError('MHV_INPUT_INVALID', `operation: ${id} acts on no target`)
  const found = targetsOf(parts, operation.worker.name, request)
  const size = sizeOf(request.batch_size, found.length)
  const targets = found.map((target, index): PlannedTarget => {
    const { decision, rule } = decideAll(parts.policy, questionsOf(operation, input, { principal, effect, target }))
    return {
      target: target.name,
      tier: target.tier,
      batch: Math.floor(index / size) + 1,
      decision,
      rule: rule?.id ?? null,
    }
  })
  const { parallel, timeout = null, priority } = request
  const failure_limit = failureLimit(request, effect, found.length)
  const subject = [id, effect, input, found, targets, parallel, failure_limit, timeout, priority, principal.id]
  return {
    operation: id,
    effect,
    input,
    batches: chunks(
      targets.map(({ target }) => target),
      size,
    ),
    targets,
    parallel,
    failure_limit,
    digest: createHash('sha256').update(canonicalJson(subject)).digest('hex'),
  }
}

/**
 * Refuses a plan with a target on which the policy does not allow the operation: nothing is begun then. The first
 * refusal is in the audit trail, with the rule that would allow it in the error.
 */
export async function authorisePlan(
  parts: PlanParts & Pick<ControlParts, 'store' | 'clock'>,
  plan: BatchPlan,
  principal: Principal,
): Promise<void> {
  const refused = plan.targets.filter(({ decision }) => decision !== 'allow')
  const [first] = refused
  if (first === undefined) return
  const operation = parts.registry.operation(plan.operation)
  const { target } = parts.environment.resolveTarget(first.target, operation.worker.name)
  try {
    await authoriseAll(parts, questionsOf(operation, plan.input, { principal, effect: plan.effect, target }))
  } catch (error) {
    const { code, message, remedy, details } = toMhvError(error)
    const names = refused.slice(0, 20).map((each) => each.target)
    throw mhvError(code, `${refused.length} of ${plan.targets.length} targets are not allowed: ${message}`, {
      remedy: `Leave them out of the selector, or: ${remedy}`,
      details: { ...details, targets: names },
    })
  }
}

function targetsOf({ environment }: PlanParts, worker: string, request: BatchRequest): readonly ResolvedTarget[] {
  const found =
    request.targets?.map((name) => named(environment, worker, name)) ?? selected(environment, worker, request.select)
  if (found.length === 0) {
    const all = environment.targetNames(worker).length
    throw mhvError('MHV_SELECTOR_EMPTY', `select: it takes none of the ${all} targets that ${worker} can act on`)
  }
  if (found.length <= MAX_TARGETS) return found
  throw mhvError('MHV_INPUT_INVALID', `select: ${found.length} targets are more than the ${MAX_TARGETS} of one batch`)
}

/** In the order of the inventory. */
function selected(environment: PlanParts['environment'], worker: string, text: string): readonly ResolvedTarget[] {
  const selector = parseSelector(text)
  for (const name of namedTargets(selector)) named(environment, worker, name)
  return environment
    .targetNames(worker)
    .map((name) => environment.resolveTarget(name, worker).target)
    .filter(matcherOf(selector))
}

/** One of many names, so an error says which. */
function named(environment: PlanParts['environment'], worker: string, name: string): ResolvedTarget {
  try {
    return environment.resolveTarget(name, worker).target
  } catch (error) {
    const { code, message, remedy, details } = toMhvError(error)
    throw mhvError(code, `select: ${quoted(name)}: ${message}`, { remedy, details })
  }
}

/** Targets of one batch. */
export function sizeOf(text: string | undefined, total: number): number {
  if (text === undefined) return Math.max(1, total)
  const value = Number.parseInt(text, 10)
  return Math.max(1, text.endsWith('%') ? Math.ceil((total * value) / 100) : value)
}

/** Most targets that may fail; null: all of them. */
export function failureLimit(
  { max_fail, max_fail_percent }: Pick<BatchOptions, 'max_fail' | 'max_fail_percent'>,
  effect: Effect,
  total: number,
): number | null {
  const limits = [
    ...(max_fail === undefined ? [] : [max_fail]),
    ...(max_fail_percent === undefined ? [] : [Math.floor((total * max_fail_percent) / 100)]),
  ]
  if (limits.length > 0) return Math.min(...limits)
  return effect === 'read' ? null : 0
}

function chunks<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, index) =>
    items.slice(index * size, (index + 1) * size),
  )
}
