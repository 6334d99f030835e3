import type { CallToolResult, ServerContext } from '@modelcontextprotocol/server'
import type { Clock } from '../../core/clock.ts'
import type { EnvelopeInput } from '../../core/envelope.ts'
import { fromWire, type MhvError, toMhvError } from '../../core/errors.ts'
import { controlCall } from '../../runtime/call-control.ts'
import type { ControlCall } from '../../runtime/control.ts'
import type { Instance } from '../../runtime/instance.ts'
import { parseWith } from '../../runtime/steps/parse.ts'
import { splitCall } from '../json-schema.ts'
import { type Caller, endOfRequest } from './caller.ts'
import { type Exposure, refuseUnlessShown } from './exposure.ts'
import type { InstanceSource } from './on-demand.ts'
import { type OutputPage, outputPage } from './output-page.ts'
import { callInput, readMoreInput, searchInput, splitOperationCall } from './own-tools.ts'
import { presentControl, presentError, presentExtra, presentPiece, presentResult, presentSearch } from './present.ts'
import { type ProgressReports, progressReports } from './progress.ts'
import { readMore } from './read-more.ts'
import { searchOperations } from './search.ts'
import { boundedWait, type Tool } from './tools.ts'

export interface CallParts {
  readonly instance: InstanceSource
  readonly exposure: Exposure
  readonly caller: Caller
  readonly clock: Clock
}

type Flat = Readonly<Record<string, unknown>>
type McpRequest = ServerContext['mcpReq']

/** Calls a tool and makes its answer, whatever happens: text, structured content, within the size that answers have. */
export async function callTool(
  parts: CallParts,
  tool: Tool,
  flat: Flat,
  { mcpReq }: ServerContext,
): Promise<CallToolResult> {
  const progress = progressReports(mcpReq, parts.clock)
  try {
    return await answer(parts, tool, flat, mcpReq, progress)
  } catch (thrown) {
    return presentError(shownError(parts.instance.opened(), thrown))
  } finally {
    progress.stop()
  }
}

async function answer(
  parts: CallParts,
  tool: Tool,
  flat: Flat,
  mcpReq: McpRequest,
  progress: ProgressReports,
): Promise<CallToolResult> {
  const { call } = tool
  switch (call.kind) {
    case 'control':
      return callControlTool(parts, call.control, flat, mcpReq.signal)
    case 'operation':
      return callOperation(parts, call.operation.id, splitCall(flat), mcpReq, progress)
    case 'own':
      if (call.own === 'operations_search') {
        const { operations, controls } = parts.exposure
        return presentSearch(searchOperations(operations, controls, parseWith(searchInput, flat)))
      }
      if (call.own === 'read_more') return presentPiece(await more(parts, flat, mcpReq.signal))
      return callNamedOperation(parts, flat, mcpReq, progress)
    case 'extra': {
      refuseUnlessShown(parts.exposure, call.extra.name, call.extra.effect)
      const instance = await parts.instance.get()
      const { principal = instance.principal } = parts.caller
      const onProgress = progress.report === undefined ? {} : { onProgress: progress.report }
      const context = { principal, surface: 'mcp', signal: mcpReq.signal, ...onProgress }
      return presentExtra(await call.extra.call(instance, flat, context))
    }
  }
  return call satisfies never
}

async function callNamedOperation(parts: CallParts, flat: Flat, mcpReq: McpRequest, progress: ProgressReports) {
  const { operation, ...rest } = splitOperationCall(parseWith(callInput, flat))
  const control = parts.exposure.controls.find(({ name }) => name === operation)
  if (control !== undefined) return callControlTool(parts, control, rest.input as Flat, mcpReq.signal)
  return callOperation(parts, operation, rest, mcpReq, progress)
}

interface OperationCall {
  readonly input: unknown
  readonly envelope: Flat
}

async function callOperation(
  parts: CallParts,
  operation: string,
  { input, envelope }: OperationCall,
  mcpReq: McpRequest,
  progress: ProgressReports,
): Promise<CallToolResult> {
  const instance = await parts.instance.get()
  refuseUnlessShown(parts.exposure, operation, instance.registry.operation(operation).spec.effect)
  const result = await instance.invoke({
    operation,
    input,
    envelope: { ...envelope, wait: boundedWait(envelope.wait) } as EnvelopeInput,
    principal: parts.caller.principal ?? instance.principal,
    surface: 'mcp',
    ...endOfRequest(parts.caller, mcpReq.signal, envelope.idempotency_key),
    ...(progress.report === undefined ? {} : { onProgress: progress.report }),
  })
  return presentResult(result)
}

async function callControlTool(parts: CallParts, control: ControlCall, flat: Flat, signal: AbortSignal) {
  refuseUnlessShown(parts.exposure, control.name, control.effect)
  const { principal } = parts.caller
  if (control.name === 'run_output') return presentControl(control.name, flat, { ...(await page(parts, flat, signal)) })
  return presentControl(control.name, flat, await parts.instance.control(control, { input: flat, signal, principal }))
}

/** A page of `run_output` that fits into an answer. */
export async function page(
  parts: Pick<CallParts, 'instance' | 'caller'>,
  flat: Flat,
  signal: AbortSignal,
): Promise<OutputPage> {
  const control = controlCall('run_output')
  const { principal } = parts.caller
  const { run_id, ...request } = parseWith(control.input, flat) as {
    run_id: string
    cursor: number
    max_bytes: number
    encoding: 'utf8' | 'base64'
  }
  const read = async (cursor: number, max_bytes: number) => {
    const input = { run_id, cursor, max_bytes, encoding: 'base64' }
    return (await parts.instance.control(control, { input, signal, principal })) as unknown as OutputPage
  }
  const found = await outputPage(read, request)
  // Secrets that were resolved after it was written are masked as in every other answer.
  return parts.instance.opened()?.redact(found) ?? found
}

function more(parts: CallParts, flat: Flat, signal: AbortSignal) {
  const request = parseWith(readMoreInput, flat)
  const control = controlCall(request.call)
  const { principal } = parts.caller
  return readMore(
    () => parts.instance.control(control, { input: request.arguments, signal, principal }),
    request.cursor,
  )
}

/** A defect goes to the log with its stack. No error is told with a secret in it. */
export function shownError(instance: Instance | undefined, thrown: unknown): MhvError {
  const error = toMhvError(thrown)
  if (instance === undefined) return error
  if (error.code === 'MHV_INTERNAL') {
    const stack = error.cause instanceof Error ? error.cause.stack : undefined
    instance.log.error('a call failed that should not', { error: error.message, stack })
  }
  return fromWire(instance.redact(error.toWire()))
}
