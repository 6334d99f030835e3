import { z } from 'zod'
import { envelopeSchema } from '../core/envelope.ts'
import { ENVELOPE_NAMES, mayHaveTarget, needsTarget, type OperationSpec } from '../core/operation.ts'
import type { RegisteredOperation } from '../core/registry.ts'
import { workerResultSchema } from '../core/result.ts'
import type { ControlCall } from '../runtime/control.ts'

/** A JSON Schema (draft 2020-12) as the surfaces publish it. */
export type PublicSchema = Readonly<Record<string, unknown>>

/**
 * What a call takes and what it answers: the same on every surface, made here and nowhere else. Each is made when it is
 * read: a command line is parsed by the inputs of all calls and by no output.
 */
export interface CallSchemas {
  readonly input: PublicSchema
  readonly output: PublicSchema
}

type EnvelopeField = (typeof ENVELOPE_NAMES)[number]

/**
 * Fields of the envelope that calls of this operation may have. `plan_digest` comes with the first operation that has
 * plans; until then the runtime refuses it, so it is not offered.
 */
export function envelopeFields({ spec }: RegisteredOperation): readonly EnvelopeField[] {
  return ENVELOPE_NAMES.filter((name) => name !== 'plan_digest' && (name !== 'target' || mayHaveTarget(spec)))
}

/** The flat arguments of an operation: target, its own fields, then the rest of the envelope. */
export function operationSchemas(operation: RegisteredOperation): CallSchemas {
  const shape = shapeOf(operation)
  return {
    get input() {
      return publicSchema(z.strictObject(shape), 'input')
    },
    get output() {
      return publicSchema(workerResultSchema(operation.spec.output), 'output')
    },
  }
}

function shapeOf(operation: RegisteredOperation): z.ZodRawShape {
  const { spec } = operation
  const envelope = envelopeFields(operation)
  return {
    ...(envelope.includes('target') ? { target: targetField(spec) } : {}),
    ...spec.input.shape,
    ...Object.fromEntries(
      envelope.filter((name) => name !== 'target').map((name) => [name, envelopeSchema.shape[name]]),
    ),
  }
}

/** The input of a call with this field alone: a list of calls needs no more of each, and that is much less to make. */
export function fieldSchema(call: RegisteredOperation | ControlCall, field: string): PublicSchema {
  const shape: z.ZodRawShape = 'spec' in call ? shapeOf(call) : call.input.shape
  const { [field]: schema } = shape
  return publicSchema(z.strictObject(schema === undefined ? {} : { [field]: schema }), 'input')
}

function targetField(spec: OperationSpec) {
  const { target } = envelopeSchema.shape
  return needsTarget(spec) ? target.nonoptional() : target
}

export function controlSchemas({ input, output }: ControlCall): CallSchemas {
  return {
    get input() {
      return publicSchema(z.strictObject(input.shape), 'input')
    },
    get output() {
      return publicSchema(output, 'output')
    },
  }
}

/** The JSON Schema of a schema, in the spelling that most clients understand. */
export function publicSchema(schema: z.ZodType, io: 'input' | 'output'): PublicSchema {
  return portable(z.toJSONSchema(schema, { io, unrepresentable: 'any' })) as PublicSchema
}

/** Positions of data, where what looks like a keyword is none. */
const DATA: readonly string[] = ['default', 'const', 'enum', 'examples']

/**
 * One type per schema and no empty schemas for further fields, since clients that translate schemas for models know no
 * other spelling; and without the bounds of a double, which zod gives to every whole number and which tell nobody
 * anything.
 */
function portable(node: unknown): unknown {
  if (Array.isArray(node)) return node.map(portable)
  if (typeof node !== 'object' || node === null) return node
  const entries = Object.entries(node).flatMap(([key, value]): [string, unknown][] => {
    if (DATA.includes(key)) return [[key, value]]
    if (key === 'type' && Array.isArray(value)) return [['anyOf', value.map((type) => ({ type }))]]
    if (key === 'minimum' && value === Number.MIN_SAFE_INTEGER) return []
    if (key === 'maximum' && value === Number.MAX_SAFE_INTEGER) return []
    if (key === 'additionalProperties' && isEmpty(value)) return [[key, true]]
    return [[key, portable(value)]]
  })
  return Object.fromEntries(entries)
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0
}

/** Takes flat arguments apart into the operation's own input and the envelope. */
export function splitCall(flat: Readonly<Record<string, unknown>>): {
  readonly input: Record<string, unknown>
  readonly envelope: Record<string, unknown>
} {
  const input: Record<string, unknown> = {}
  const envelope: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(flat)) {
    const side = (ENVELOPE_NAMES as readonly string[]).includes(key) ? envelope : input
    side[key] = value
  }
  return { input, envelope }
}
