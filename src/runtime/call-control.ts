import type { Principal, Tier } from '../core/context.ts'
import { mhvError } from '../core/errors.ts'
import { didYouMean } from '../core/suggest.ts'
import { CONTROL_CALLS, type ControlCall, type ControlParts, findRun } from './control.ts'
import { authorise } from './steps/authorise.ts'
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
  throw mhvError('MHV_OPERATION_UNKNOWN', `there is no call "${name}"${didYouMean(name, names)}`)
}

/** The only way to a control call: parse, authorise, run, redact. */
export async function callControl(parts: ControlParts, request: ControlRequest): Promise<Record<string, unknown>> {
  const call = controlCall(request.name)
  const input = parseWith(call.input, request.input ?? {}) as Record<string, unknown>
  await authoriseControl(parts, call, input, request.principal)
  const signal = request.signal ?? new AbortController().signal
  return parts.redactor.deep(await call.run(parts, input, request.principal, signal))
}

async function authoriseControl(
  parts: ControlParts,
  call: ControlCall,
  input: Record<string, unknown>,
  principal: Principal,
): Promise<void> {
  const audit = { policy: parts.policy, store: parts.runtime === null ? null : parts.store, clock: parts.clock }
  const question = { principal, worker: 'control', operation: call.name, effect: call.effect, target: null }
  if (call.effect === 'read') {
    await authorise(audit, question)
    return
  }
  const run = await findRun(parts, String(input.run_id))
  // Whoever was allowed to start a run may stop it; the run of somebody else is a write on its target.
  if (run.principal === principal.id) return
  const target = run.target === null ? null : { name: run.target, tier: tierOf(run.tier), tags: [] }
  await authorise(audit, { ...question, worker: run.worker, target })
}

function tierOf(tier: string | null): Tier {
  return tier === 'dev' || tier === 'staging' ? tier : 'prod'
}
