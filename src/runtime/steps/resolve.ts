import type { ResolvedTarget } from '../../core/context.ts'
import { mhvError } from '../../core/errors.ts'
import { mayHaveTarget, needsTarget } from '../../core/operation.ts'
import type { Environment } from '../runtime.ts'
import type { ParsedCall } from './parse.ts'

export interface ResolvedCall extends ParsedCall {
  /** Null for an operation without a target. */
  readonly target: ResolvedTarget | null
  /** The worker's settings with the target's overrides. */
  readonly settings: unknown
  readonly timeoutSeconds: number
}

/** Step 2: the target of the inventory, and the settings and deadline that follow from it. */
export function resolveCall(environment: Environment, call: ParsedCall): ResolvedCall {
  const { spec, worker } = call.operation
  const name = call.envelope.target
  if (needsTarget(spec) && name === undefined) throw mhvError('MHV_TARGET_REQUIRED', `${spec.id} needs a target`)
  if (!mayHaveTarget(spec) && name !== undefined) {
    throw mhvError('MHV_INPUT_INVALID', `target: ${spec.id} acts on no target`)
  }
  const { target, settings } =
    name === undefined
      ? { target: null, settings: environment.workerSettings(worker.name) }
      : environment.resolveTarget(name, worker.name)
  const byDefault = typeof spec.timeout === 'function' ? spec.timeout(settings) : spec.timeout
  const timeoutSeconds = call.envelope.timeout ?? byDefault
  if (!(timeoutSeconds > 0)) throw mhvError('MHV_INTERNAL', `${spec.id} has no time to run in: ${timeoutSeconds} s`)
  return { ...call, target, settings, timeoutSeconds }
}
