import { createHash } from 'node:crypto'
import { z } from 'zod'
import type { Principal } from '../../core/context.ts'
import { type Envelope, envelopeSchema } from '../../core/envelope.ts'
import { type MhvError, mhvError } from '../../core/errors.ts'
import { keepLargeJson } from '../../core/large-json.ts'
import { type Effect, narrower } from '../../core/operation.ts'
import type { RegisteredOperation, Registry } from '../../core/registry.ts'
import { didYouMean, quoted } from '../../core/suggest.ts'
import type { Redactor } from '../../governance/redaction.ts'
import type { InvokeRequest } from '../runtime.ts'

/** Most bytes of an input as JSON: it is kept in the journal whole. */
const MAX_INPUT_BYTES = 1024 * 1024

/** A call that is well formed. */
export interface ParsedCall {
  readonly operation: RegisteredOperation
  readonly input: Record<string, unknown>
  readonly envelope: Envelope
  /** The most this call may change. */
  readonly effect: Effect
  readonly principal: Principal
  readonly surface: string
}

/** Step 1. Throws MHV_OPERATION_UNKNOWN, MHV_INPUT_INVALID, MHV_INPUT_SECRET. */
export function parseCall(registry: Registry, redactor: Redactor, request: InvokeRequest): ParsedCall {
  const operation = registry.operation(request.operation)
  const { spec } = operation
  const envelope = parseWith(envelopeSchema, request.envelope ?? {})
  if (envelope.plan_digest !== undefined) {
    throw mhvError('MHV_INPUT_INVALID', `plan_digest: ${spec.id} has no plan to apply`)
  }
  const input = parseWith(spec.input, request.input ?? {}) as Record<string, unknown>
  const json = jsonOf(input)
  if (Buffer.byteLength(json) > MAX_INPUT_BYTES) {
    throw mhvError('MHV_INPUT_INVALID', `the input is larger than ${MAX_INPUT_BYTES} bytes`)
  }
  keepLargeJson(input, json)
  if (redactor.finds(input) || redactor.finds(envelope)) {
    throw mhvError('MHV_INPUT_SECRET', 'the input contains the value of a secret that this process has resolved')
  }
  const effect = spec.effectOf === undefined ? spec.effect : narrower(spec.effect, spec.effectOf(input))
  return { operation, input, envelope, effect, principal: request.principal, surface: request.surface }
}

function jsonOf(input: unknown): string {
  try {
    return JSON.stringify(input)
  } catch (error) {
    throw mhvError('MHV_INPUT_INVALID', 'the input cannot be written as JSON', { cause: error })
  }
}

/** Parses with a schema; a field that the schema does not have is an error. */
export function parseWith<S extends z.ZodObject>(schema: S, value: unknown): z.output<S> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    const known = Object.keys(schema.shape)
    const stranger = Object.keys(value).find((key) => !known.includes(key))
    if (stranger !== undefined) {
      throw mhvError('MHV_INPUT_INVALID', `there is no field ${quoted(stranger)}${didYouMean(stranger, known)}`)
    }
  }
  const parsed = z.safeParse(schema, value)
  if (parsed.success) return parsed.data
  throw inputError(parsed.error)
}

function inputError(error: z.core.$ZodError): MhvError {
  const lines = error.issues.map((issue) => `${issue.path.join('.') || 'input'}: ${issue.message}`)
  return mhvError('MHV_INPUT_INVALID', lines.slice(0, 5).join('; '), {
    details: { issues: error.issues.slice(0, 20).map(({ path, code, message }) => ({ path, code, message })) },
  })
}

/** SHA-256 over operation, target and input in canonical JSON (keys sorted), hex: what an idempotency key is bound to. */
export function inputDigest(call: ParsedCall): string {
  const subject = [call.operation.id, call.envelope.target ?? null, call.input]
  return createHash('sha256').update(canonicalJson(subject)).digest('hex')
}

/** JSON with the keys of every object sorted. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, each: unknown) => {
    if (typeof each !== 'object' || each === null || Array.isArray(each)) return each
    return Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1)))
  })
}
