import { type Effect, exampleTarget, mayHaveTarget } from '../../core/operation.ts'
import type { RegisteredOperation, Registry } from '../../core/registry.ts'
import { CONTROL_CALLS, type ControlCall } from '../../runtime/control.ts'
import { controlSchemas, operationSchemas, type PublicSchema } from '../json-schema.ts'
import { controlName, nameTable, operationName } from '../names.ts'
import type { ExtraTool } from './extra-tools.ts'

/** Longest a call waits for its run, in seconds: clients give up after 60. */
export const MAX_WAIT_SECONDS = 45

/** One tool as clients see it, and what it calls. */
export interface Tool {
  readonly name: string
  readonly title: string
  readonly description: string
  readonly inputSchema: PublicSchema
  readonly outputSchema: PublicSchema
  readonly annotations: ToolHints
  readonly call:
    | { readonly kind: 'operation'; readonly operation: RegisteredOperation }
    | { readonly kind: 'control'; readonly control: ControlCall }
    | { readonly kind: 'own'; readonly own: OwnToolName }
    | { readonly kind: 'extra'; readonly extra: ExtraTool }
}

/** Tools of this surface alone: reading on in a large answer, and finding and calling what has no tool of its own. */
export type OwnToolName = 'read_more' | 'operations_search' | 'operation_call'

export interface ToolHints {
  readonly title: string
  readonly readOnlyHint: boolean
  readonly destructiveHint: boolean
  readonly idempotentHint: boolean
  readonly openWorldHint: boolean
}

/** All tools, derived from the declarations: operations first, in the order of the registry. */
export function toolsOf(registry: Registry): readonly Tool[] {
  nameTable(registry)
  return [...registry.operations.map(operationTool), ...CONTROL_CALLS.map(controlTool)]
}

function operationTool(operation: RegisteredOperation): Tool {
  const { spec } = operation
  const { input, output } = operationSchemas(operation)
  const paragraphs = [
    spec.description === undefined ? spec.summary : `${spec.summary} ${spec.description}`,
    `${EFFECT_TEXT[spec.effect]} ${LONG_RUNS}`,
    `Example: ${JSON.stringify(exampleArguments(operation))}`,
  ]
  return {
    name: operationName(operation).mcp,
    title: spec.title,
    description: paragraphs.join('\n\n'),
    inputSchema: withWait(input),
    outputSchema: output,
    annotations: hints(spec.title, spec.effect, spec.idempotent, mayHaveTarget(spec)),
    call: { kind: 'operation', operation },
  }
}

function controlTool(control: ControlCall): Tool {
  const { input, output } = controlSchemas(control)
  return {
    name: controlName(control).mcp,
    title: control.title,
    description: control.summary,
    inputSchema: input,
    outputSchema: output,
    // Asking twice, or cancelling twice, is the same as once; nothing outside of Mahavishnu is looked at, but for a ping.
    annotations: hints(control.title, control.effect, true, false),
    call: { kind: 'control', control },
  }
}

export const EFFECT_TEXT: Readonly<Record<Effect, string>> = {
  read: 'Changes nothing.',
  write: 'May change things on its target.',
  destroy: 'May change and destroy things on its target.',
}

export const LONG_RUNS =
  'When the run outlasts `wait`, the answer is its handle (status pending or running, and a run_id): go on with ' +
  'run_wait, run_output or run_cancel.'

/** The hints follow the most that the operation may ever change; a single call may change less. */
export function hints(title: string, effect: Effect, idempotent: boolean, openWorld: boolean): ToolHints {
  return {
    title,
    readOnlyHint: effect === 'read',
    destructiveHint: effect === 'destroy',
    idempotentHint: idempotent,
    openWorldHint: openWorld,
  }
}

export function exampleArguments({ spec }: RegisteredOperation): Record<string, unknown> {
  const [example] = spec.examples
  const target = exampleTarget(spec, example)
  return { ...(target === undefined ? {} : { target }), ...example?.input }
}

/** Over MCP a wait has a cap. A longer one is no error: it counts as the cap. */
function withWait(schema: PublicSchema): PublicSchema {
  const properties = schema.properties as Record<string, PublicSchema>
  const description =
    `seconds to wait for the result, ${MAX_WAIT_SECONDS} at most and by default; after that the handle (run_id) is ` +
    'answered and the run goes on'
  return { ...schema, properties: { ...properties, wait: { ...properties.wait, description } } }
}

/** The wait of a call as it is handed on. What is no number is left as it is, for the runtime to refuse. */
export function boundedWait(wait: unknown): unknown {
  if (wait === undefined) return MAX_WAIT_SECONDS
  return typeof wait === 'number' ? Math.min(wait, MAX_WAIT_SECONDS) : wait
}
