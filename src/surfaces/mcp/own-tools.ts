import { z } from 'zod'
import { envelopeSchema } from '../../core/envelope.ts'
import { EFFECTS, ENVELOPE_NAMES } from '../../core/operation.ts'
import type { RegisteredOperation } from '../../core/registry.ts'
import { anyResultSchema } from '../../core/result.ts'
import { CONTROL_CALLS, type ControlCall } from '../../runtime/control.ts'
import { publicSchema } from '../json-schema.ts'
import { hints, LONG_RUNS, MAX_WAIT_SECONDS, type OwnToolName, type Tool } from './tools.ts'

/** Control calls that only read, without `run_output`, which has a cursor of its own. */
export const READABLE_CALLS: readonly string[] = CONTROL_CALLS.flatMap(({ name, effect }) =>
  effect === 'read' && name !== 'run_output' ? [name] : [],
)

export const readMoreInput = z.strictObject({
  call: z.enum(READABLE_CALLS as [string, ...string[]]).describe('the call whose answer was too large'),
  arguments: z.record(z.string(), z.unknown()).default({}).describe('its arguments'),
  cursor: z.string().max(100).optional().describe('next_cursor of the answer before; without it, the beginning'),
})

export const readMoreOutput = z.object({
  text: z.string().describe('a piece of the whole answer as JSON; the pieces joined are the JSON'),
  next_cursor: z.string().nullable().describe('null when this was the last piece'),
  total_characters: z.number().int().describe('length of the whole JSON in UTF-16 code units'),
})

export const searchInput = z.strictObject({
  query: z.string().max(200).default('').describe('words to look for in names and descriptions; empty finds all'),
  offset: z.number().int().min(0).default(0).describe('next of the answer before'),
})

export const searchOutput = z.object({
  operations: z.array(
    z.object({
      operation: z.string().describe('what operation_call takes'),
      title: z.string(),
      description: z.string(),
      effect: z.enum(EFFECTS).describe('the most it may ever change'),
      target: z.boolean().describe('whether it needs a target'),
      input_schema: z.record(z.string(), z.unknown()).nullable().describe('of its input; null where it is too large'),
      example: z.record(z.string(), z.unknown()),
    }),
  ),
  found: z.number().int().describe('operations that the query finds'),
  next: z.number().int().nullable().describe('offset of what did not fit; null when this was all'),
})

const { target, wait, plan_digest: _planDigest, ...envelope } = envelopeSchema.shape
const WAIT_TEXT = `seconds to wait for the result, ${MAX_WAIT_SECONDS} at most and by default`

export const callInput = z.strictObject({
  operation: z
    .string()
    .max(200)
    .describe('what to call, as operations_search names it: worker.verb, or a call of this server'),
  target,
  input: z.record(z.string(), z.unknown()).default({}).describe("the operation's own input"),
  ...envelope,
  wait: wait.describe(WAIT_TEXT),
})

const SCHEMAS = {
  read_more: [readMoreInput, readMoreOutput],
  operations_search: [searchInput, searchOutput],
  // A call about dead letters answers in its own shape.
  operation_call: [callInput, anyResultSchema.partial().loose()],
} as const satisfies Record<OwnToolName, readonly [z.ZodObject, z.ZodObject]>

const TEXTS: Readonly<Record<OwnToolName, readonly [title: string, description: string]>> = {
  read_more: [
    'Read on in a large answer',
    'Reads the whole of an answer that was cut to fit, piece by piece, as JSON. An answer that was cut names the ' +
      'arguments to begin with.',
  ],
  operations_search: [
    'Find operations',
    'Finds operations by words of their names and descriptions, with the schema of their input: also those that have ' +
      'no tool of their own. Call them with operation_call.',
  ],
  operation_call: [
    'Call an operation',
    `Calls any operation that operations_search finds: the same run, policy and journal as through a tool of its own. ${LONG_RUNS}`,
  ],
}

/** A tool of this surface. The hints of `operation_call` are those of the most that any of its operations may change. */
export function ownTool(
  name: OwnToolName,
  operations: readonly RegisteredOperation[],
  controls: readonly ControlCall[] = [],
): Tool {
  const [title, description] = TEXTS[name]
  const [input, output] = SCHEMAS[name]
  const calls = name === 'operation_call'
  const effects = [...operations.map(({ spec }) => spec.effect), ...controls.map(({ effect }) => effect)]
  const most = EFFECTS.findLast((effect) => effects.includes(effect)) ?? 'read'
  const idempotent = !calls || operations.every(({ spec }) => spec.idempotent)
  return {
    name,
    title,
    description,
    inputSchema: publicSchema(input, 'input'),
    outputSchema: publicSchema(output, 'output'),
    annotations: hints(title, calls ? most : 'read', idempotent, calls),
    call: { kind: 'own', own: name },
  }
}

/** Takes the arguments of `operation_call` apart. */
export function splitOperationCall(flat: Readonly<Record<string, unknown>>) {
  const envelope = Object.fromEntries(
    Object.entries(flat).filter(([key]) => ENVELOPE_NAMES.some((each) => each === key)),
  )
  return { operation: String(flat.operation), input: flat.input ?? {}, envelope }
}
