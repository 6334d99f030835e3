import type { Principal } from '../core/context.ts'
import { mhvError, toMhvError } from '../core/errors.ts'
import { didYouMean, quoted } from '../core/suggest.ts'
import type { PolicyQuestion } from '../governance/policy.ts'
import { redactError } from '../governance/redaction.ts'
import type { RunRecord } from '../store/store.ts'
import { CONTROL_CALLS, type ControlCall, type ControlParts } from './control.ts'
import { lookUpRun } from './run-calls.ts'
import { authoriseCall } from './steps/authorise.ts'
import { parseWith } from './steps/parse.ts'

export interface ControlRequest {
  readonly name: string
  readonly input: unknown
  readonly principal: Principal
  readonly signal?: AbortSignal
}

/** The control call of a name. */
export function controlCall(name: string): ControlCall {
  const call = CONTROL_CALLS.find((each) => each.name === name)
  if (call !== undefined) return call
  const names = CONTROL_CALLS.map((each) => each.name)
  throw mhvError('MHV_OPERATION_UNKNOWN', `there is no call ${quoted(name)}${didYouMean(name, names)}`)
}

/** The only way to a control call: parse, authorise, run, redact. Rejects with an error of the table, redacted too. */
export async function callControl(parts: ControlParts, request: ControlRequest): Promise<Record<string, unknown>> {
  try {
    const call = controlCall(request.name)
    const input = parseWith(call.input, request.input ?? {}) as Record<string, unknown>
    await authoriseControl(parts, call, input, request.principal)
    if (call.needsRuntime && parts.runtime === null) {
      throw mhvError('MHV_INSTANCE_LOCKED', `${call.name} needs the process that holds the instance`)
    }
    const signal = request.signal ?? new AbortController().signal
    return parts.redactor.deep(await call.run(parts, input, request.principal, signal))
  } catch (error) {
    throw redactError(parts.redactor, toMhvError(error))
  }
}

/**
 * Whoever was allowed to start a run may see it and stop it. The run of somebody else is asked for as what the call
 * does on the target of that run, so that a rule about the target counts here too.
 */
async function authoriseControl(
  parts: ControlParts,
  call: ControlCall,
  input: Record<string, unknown>,
  principal: Principal,
): Promise<void> {
  const run = await runAskedAbout(parts, input)
  if (run?.principal === principal.id) return
  if (!call.authorisedEach && (await isOwnBatch(parts, input, principal))) return
  const about = run ?? call.about?.(input) ?? null
  await authoriseCall(parts, {
    principal,
    worker: about?.worker ?? 'control',
    operation: call.name,
    effect: call.authorisedEach ? 'read' : call.effect,
    target: about === null ? null : targetOf(parts, about),
  })
}

/** A batch is looked after by whoever has asked for it. */
async function isOwnBatch({ store }: ControlParts, { batch_id }: Record<string, unknown>, { id }: Principal) {
  return typeof batch_id === 'string' && (await store.getBatch(batch_id))?.principal === id
}

/** The run that a call names, by its own id or by that of its dead letter. */
async function runAskedAbout(parts: ControlParts, { run_id, letter_id }: Record<string, unknown>) {
  if (typeof run_id === 'string') return lookUpRun(parts, run_id)
  const letter = typeof letter_id === 'string' ? await parts.store.getDeadLetter(letter_id) : null
  return letter === null ? null : lookUpRun(parts, letter.run_id)
}

/** As the inventory has it now; a target that is no longer there has the tier that it had, and no tags. */
function targetOf(
  { environment }: ControlParts,
  { target, worker, tier }: Pick<RunRecord, 'target' | 'worker'> & Partial<RunRecord>,
): PolicyQuestion['target'] {
  if (target === null) return null
  try {
    return environment.resolveTarget(target, worker).target
  } catch {
    return { name: target, tier: tier === 'dev' || tier === 'staging' ? tier : 'prod', tags: [] }
  }
}
