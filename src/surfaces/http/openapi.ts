import { z } from 'zod'
import { envelopeSchema } from '../../core/envelope.ts'
import { ERROR_CODES, ERROR_TABLE, type ErrorCode } from '../../core/error-table.ts'
import { exampleTarget, needsTarget } from '../../core/operation.ts'
import type { RegisteredOperation, Registry } from '../../core/registry.ts'
import { anyResultSchema, workerResultSchema } from '../../core/result.ts'
import { controlSchemas, envelopeFields, type PublicSchema, publicSchema } from '../json-schema.ts'
import { type ControlRoute, operationPath } from '../names.ts'
import { controlRoutes } from './control-routes.ts'
import { EVENT_STREAM_TYPE } from './event-stream.ts'
import { PROBLEM_TYPE } from './problem.ts'
import { RUN_EVENTS_PATH } from './run-events.ts'

type Json = Readonly<Record<string, unknown>>

/** What a request is refused with before its route is asked. */
const GUARD: readonly ErrorCode[] = [
  'MHV_HTTP_HOST',
  'MHV_HTTP_ORIGIN',
  'MHV_HTTP_TOKEN',
  'MHV_HTTP_RATE_LIMITED',
  'MHV_INTERNAL',
]
const BODY: readonly ErrorCode[] = ['MHV_HTTP_BODY', 'MHV_HTTP_BODY_TOO_LARGE', 'MHV_HTTP_MEDIA_TYPE']
const POLICY: readonly ErrorCode[] = ['MHV_POLICY_DENIED', 'MHV_APPROVAL_REQUIRED']
const JOURNAL: readonly ErrorCode[] = [
  'MHV_JOURNAL_UNAVAILABLE',
  'MHV_JOURNAL_FULL',
  'MHV_JOURNAL_CORRUPT',
  'MHV_SHUTTING_DOWN',
]
/** Codes of everything behind the surface. */
const OF_RUNTIME = ERROR_CODES.filter((code) => !code.startsWith('MHV_HTTP_'))
/** What a call is refused with before there is a run. What ends a run stands in its result. */
const OPERATION: readonly ErrorCode[] = [
  'MHV_INPUT_INVALID',
  'MHV_INPUT_SECRET',
  'MHV_OPERATION_UNKNOWN',
  'MHV_TARGET_REQUIRED',
  'MHV_TARGET_UNKNOWN',
  'MHV_TARGET_UNSUPPORTED',
  'MHV_IDEMPOTENCY_MISMATCH',
  'MHV_ADMISSION_FULL',
  'MHV_DISK_LOW',
  'MHV_RUN_INTERRUPTED',
  'MHV_RUN_CANCELLED_QUEUED',
]

/** The OpenAPI 3.1 document of this program: derived, like the routes it tells of. */
export function openApiDocument(registry: Registry, version: string): Json {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Mahavishnu',
      version,
      description:
        'Operations on named targets: bounded, authorised, journaled and explainable. A run that failed is an answer ' +
        'with status 200 and its WorkerResult; a refusal, where there is no run, is a problem (RFC 9457) with a code.',
    },
    servers: [{ url: 'http://127.0.0.1:7420', description: 'unless http.host and http.port say otherwise' }],
    security: [{ token: [] }],
    paths: {
      ...Object.fromEntries(registry.operations.map(operationItem)),
      ...Object.fromEntries(controlRoutes().map(controlPath)),
      [RUN_EVENTS_PATH]: { get: runEvents() },
      ...ownPaths(),
    },
    components: {
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer', description: 'the content of http.token in the instance folder' },
      },
      schemas: { Problem: problemSchema(), WorkerResult: component(anyResultSchema, 'output') },
    },
  }
}

function operationItem(operation: RegisteredOperation): [path: string, item: Json] {
  const { id, spec } = operation
  const result = component(workerResultSchema(spec.output), 'output')
  const example = spec.examples[0]
  const named = exampleTarget(spec, example)
  const target = named === undefined ? {} : { target: named }
  return [
    operationPath(operation),
    {
      post: {
        operationId: id,
        tags: [operation.worker.name],
        summary: spec.summary,
        ...(spec.description === undefined ? {} : { description: spec.description }),
        requestBody: {
          required: needsTarget(spec) || inputIsRequired(operation),
          content: {
            'application/json': { schema: callSchema(operation), example: { ...target, input: example?.input ?? {} } },
          },
        },
        responses: {
          200: {
            description:
              'The run has ended: completed, failed, timeout or cancelled. With `Accept: text/event-stream` and an ' +
              'operation that tells of its progress: events `progress`, then one `result` or `problem`.',
            content: {
              'application/json': { schema: result },
              [EVENT_STREAM_TYPE]: { schema: { type: 'string' } },
            },
          },
          202: {
            description: 'The run goes on: this is its handle.',
            headers: { Location: { description: 'where the run is', schema: { type: 'string' } } },
            content: { 'application/json': { schema: result } },
          },
          ...refusals([...GUARD, ...BODY, ...OPERATION, ...POLICY, ...JOURNAL]),
        },
      },
    },
  ]
}

/** The body of a call: the operation's own input under `input`, the envelope beside it. */
function callSchema(operation: RegisteredOperation): Json {
  const { spec } = operation
  const input = z.strictObject(spec.input.shape)
  const fields = envelopeFields(operation)
  const envelope = fields.filter((name) => name !== 'target').map((name) => [name, envelopeSchema.shape[name]] as const)
  const shape = {
    ...(fields.includes('target') ? { target: envelopeSchema.shape.target.nonoptional() } : {}),
    input: inputIsRequired(operation) ? input : input.optional(),
    ...Object.fromEntries(envelope),
  }
  return component(z.strictObject(shape), 'input')
}

function inputIsRequired({ spec }: RegisteredOperation): boolean {
  return !z.safeParse(spec.input, {}).success
}

function controlPath(route: ControlRoute): [path: string, item: Json] {
  const { call, method, path, pathField } = route
  const { input, output } = controlSchemas(call)
  const fields = Object.entries((input.properties ?? {}) as Readonly<Record<string, Json>>)
  const others = fields.filter(([name]) => name !== pathField)
  const body = method === 'GET' ? [] : BODY
  return [
    path,
    {
      [method.toLowerCase()]: {
        operationId: call.name,
        tags: [call.cli[0]],
        summary: call.summary,
        parameters: [
          ...fields.filter(([name]) => name === pathField).map(([name, schema]) => pathParameter(name, schema)),
          ...(method === 'GET' ? others.map(([name, schema]) => queryParameter(name, schema, input)) : []),
        ],
        ...(method === 'GET' ? {} : { requestBody: controlBody(input, pathField) }),
        responses: {
          200: {
            description: call.title,
            ...(call.page !== undefined
              ? { headers: { Link: { description: 'the next page, rel="next"', schema: { type: 'string' } } } }
              : {}),
            content: { 'application/json': { schema: withoutDialect(output) } },
          },
          ...refusals([...GUARD, ...body, ...codesOf(route), ...POLICY, ...JOURNAL]),
        },
      },
    },
  ]
}

function codesOf({ call, pathField }: ControlRoute): readonly ErrorCode[] {
  // What looks at a target can end with whatever its worker knows.
  if (call.needsRuntime && call.effect === 'read') return [...OF_RUNTIME, 'MHV_HTTP_ROUTE']
  const own: readonly ErrorCode[] = call.errors ?? ['MHV_RUN_UNKNOWN']
  const unknown: readonly ErrorCode[] = pathField === null ? (call.errors ?? []) : [...own, 'MHV_HTTP_ROUTE']
  return ['MHV_INPUT_INVALID', ...unknown]
}

function pathParameter(name: string, { description, ...schema }: Json): Json {
  return { name, in: 'path', required: true, description, schema: { minLength: 1, ...schema } }
}

function queryParameter(name: string, { description, ...schema }: Json, { required }: PublicSchema): Json {
  const needed = Array.isArray(required) && required.includes(name)
  return { name, in: 'query', required: needed, ...(description === undefined ? {} : { description }), schema }
}

function controlBody(input: PublicSchema, pathField: string | null): Json {
  const properties = Object.fromEntries(
    Object.entries((input.properties ?? {}) as Json).filter(([name]) => name !== pathField),
  )
  const required = ((input.required ?? []) as readonly string[]).filter((name) => name !== pathField)
  const schema = {
    type: 'object',
    properties,
    ...(required.length > 0 ? { required } : {}),
    additionalProperties: false,
  }
  return { required: required.length > 0, content: { 'application/json': { schema } } }
}

function runEvents(): Json {
  return {
    operationId: 'run_events',
    tags: ['runs'],
    summary: 'Follows a run: its events, output, progress and end, as server-sent events.',
    description:
      'Events: `event` (a line of its log), `output` (a piece of it), `progress` (kept nowhere), `end` (the ' +
      'WorkerResult; nothing comes after it), and `problem` where the following ended for another reason. The id ' +
      '(`<seq of the last event>.<cursor of the last output>`), sent back as Last-Event-ID, goes on from there.',
    parameters: [
      pathParameter('run_id', { type: 'string', description: 'ULID of the run' }),
      {
        name: 'Last-Event-ID',
        in: 'header',
        required: false,
        description: 'id of the last event that was received',
        schema: { type: 'string', pattern: '^\\d{1,15}\\.\\d{1,15}$' },
      },
    ],
    responses: {
      200: { description: 'The events.', content: { [EVENT_STREAM_TYPE]: { schema: { type: 'string' } } } },
      ...refusals([
        ...GUARD,
        'MHV_INPUT_INVALID',
        'MHV_RUN_UNKNOWN',
        'MHV_HTTP_ROUTE',
        'MHV_HTTP_FOLLOWERS_FULL',
        ...POLICY,
        ...JOURNAL,
      ]),
    },
  }
}

function ownPaths(): Json {
  const state = (words: readonly string[]) => ({
    'application/json': {
      schema: {
        type: 'object',
        properties: { status: { enum: words } },
        required: ['status'],
        additionalProperties: false,
      },
    },
  })
  const probe = (operationId: string, summary: string, responses: Json) => ({
    get: { operationId, tags: ['server'], summary, security: [], responses },
  })
  const own = (operationId: string, summary: string, type: string, schema: Json) => ({
    get: {
      operationId,
      tags: ['server'],
      summary,
      responses: { 200: { description: summary, content: { [type]: { schema } } }, ...refusals(GUARD) },
    },
  })
  return {
    '/healthz': probe('healthz', 'Whether the process answers. Needs no token.', {
      200: { description: 'It does.', content: state(['ok']) },
    }),
    '/readyz': probe('readyz', 'Whether it takes new runs. Needs no token.', {
      200: { description: 'It does.', content: state(['ready']) },
      503: { description: 'It stops, or its journal cannot take a run.', content: state(['not ready']) },
    }),
    '/metrics': own('metrics', 'All metrics, in the text format of Prometheus.', 'text/plain', { type: 'string' }),
    '/openapi.json': own('openapi', 'This document.', 'application/json', { type: 'object' }),
  }
}

/** One answer for each status, with the codes that it may have. */
function refusals(codes: readonly ErrorCode[]): Json {
  const byStatus = new Map<number, Set<ErrorCode>>()
  for (const code of codes) {
    const status = ERROR_TABLE[code].http
    byStatus.set(status, (byStatus.get(status) ?? new Set()).add(code))
  }
  return Object.fromEntries([...byStatus].map(([status, of]) => [status, refusal(status, [...of])]))
}

function refusal(status: number, codes: readonly ErrorCode[]): Json {
  const later = status === 429 || status === 503 || status === 507
  const schema = {
    allOf: [
      { $ref: '#/components/schemas/Problem' },
      { type: 'object', properties: { status: { const: status }, code: { enum: codes } } },
    ],
  }
  return {
    description: codes.map((code) => `\`${code}\``).join(', '),
    ...(later
      ? { headers: { 'Retry-After': { description: 'seconds, where they are known', schema: { type: 'integer' } } } }
      : {}),
    content: { [PROBLEM_TYPE]: { schema } },
  }
}

function problemSchema(): Json {
  const schema = z.strictObject({
    type: z.string().describe('urn:mahavishnu:error:CODE'),
    title: z.string().describe('what happened, in general'),
    status: z.number().int(),
    detail: z.string().describe('what happened, here'),
    code: z.enum(ERROR_CODES),
    remedy: z.string().describe('what to do about it'),
    retry_after: z.number().optional().describe('seconds after which to call again'),
    details: z.record(z.string(), z.unknown()).optional().describe('facts, for programs'),
  })
  return component(schema, 'output')
}

function component(schema: z.ZodType, io: 'input' | 'output'): Json {
  return withoutDialect(publicSchema(schema, io))
}

/** OpenAPI 3.1 says which dialect its schemas are in. */
function withoutDialect({ $schema: _dialect, ...schema }: PublicSchema): Json {
  return schema
}
