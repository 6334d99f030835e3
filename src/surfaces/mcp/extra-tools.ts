import type { Principal, Progress } from '../../core/context.ts'
import type { Effect } from '../../core/operation.ts'
import type { Instance } from '../../runtime/instance.ts'
import type { PublicSchema } from '../json-schema.ts'
import { hints, type Tool } from './tools.ts'

/** Who calls, and how the call ends early. */
export interface ExtraCall {
  readonly principal: Principal
  readonly surface: string
  readonly signal: AbortSignal
  readonly onProgress?: (progress: Progress) => void
}

/**
 * A tool that stands beside the derived ones: the names and shapes of the original project, for its profile. It is a
 * shape and a translation: whatever it does ends in `instance.invoke` or `instance.control`.
 */
export interface ExtraTool {
  readonly name: string
  readonly title: string
  readonly description: string
  /** The most it may ever change. */
  readonly effect: Effect
  readonly idempotent: boolean
  /** Whether it reaches targets. */
  readonly openWorld: boolean
  readonly inputSchema: PublicSchema
  readonly outputSchema: PublicSchema
  /** Answers with what fits the output schema. Throws an MhvError where it cannot. */
  call(instance: Instance, input: Readonly<Record<string, unknown>>, call: ExtraCall): Promise<Record<string, unknown>>
}

export function extraTool(extra: ExtraTool): Tool {
  const { name, title, description, inputSchema, outputSchema, effect, idempotent, openWorld } = extra
  const annotations = hints(title, effect, idempotent, openWorld)
  return { name, title, description, inputSchema, outputSchema, annotations, call: { kind: 'extra', extra } }
}
