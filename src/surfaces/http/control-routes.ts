import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { mhvError } from '../../core/errors.ts'
import { CONTROL_CALLS, type ControlCall } from '../../runtime/control.ts'
import type { Instance } from '../../runtime/instance.ts'
import { controlSchemas, type PublicSchema } from '../json-schema.ts'
import { type ControlRoute, controlRoute } from '../names.ts'
import { callerOf } from './caller.ts'
import { closedSignal } from './closed-signal.ts'
import { bodyObject } from './json-body.ts'

export function controlRoutes(): readonly ControlRoute[] {
  return CONTROL_CALLS.map(controlRoute)
}

export function addControlRoutes(app: FastifyInstance, instance: Instance): void {
  for (const route of controlRoutes()) {
    const { call, method, path, pathField } = route
    // Made by the first request: an idle server needs no schemas.
    let fields: Readonly<Record<string, PublicSchema>> | undefined
    app.route({
      method,
      url: path.replace(/\{(\w+)\}/g, ':$1'),
      exposeHeadRoute: false,
      async handler(request, reply) {
        fields ??= propertiesOf(controlSchemas(call).input)
        const params = request.params as Readonly<Record<string, string>>
        const given = method === 'GET' ? queryInput(request, fields) : bodyObject(request.body)
        if (pathField !== null && Object.hasOwn(given, pathField)) {
          throw mhvError('MHV_INPUT_INVALID', `${pathField}: stands in the path already`)
        }
        const input = pathField === null ? given : { ...given, [pathField]: params[pathField] }
        const { principal } = callerOf(request)
        const answer = await instance.control({ name: call.name, input, principal, signal: closedSignal(reply) })
        linkNextPage(request, reply, call, answer)
        return answer
      },
    })
  }
}

function propertiesOf(schema: PublicSchema): Readonly<Record<string, PublicSchema>> {
  return (schema.properties ?? {}) as Readonly<Record<string, PublicSchema>>
}

/** Everything in a query is text: numbers, booleans and objects are read as what their schema says. Others are left to it. */
function queryInput(request: FastifyRequest, fields: Readonly<Record<string, PublicSchema>>): Record<string, unknown> {
  const query = request.query as Readonly<Record<string, string | string[]>>
  return Object.fromEntries(Object.entries(query).map(([name, text]) => [name, typed(text, fields[name])]))
}

const NUMBER = /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/

function typed(text: string | string[], schema: PublicSchema | undefined): unknown {
  if (typeof text !== 'string') return text
  if ((schema?.type === 'number' || schema?.type === 'integer') && NUMBER.test(text)) return Number(text)
  if (schema?.type === 'object') return parsed(text)
  if (schema?.type === 'boolean' && (text === 'true' || text === 'false')) return text === 'true'
  return text
}

/** JSON, where an object is wanted; what is none is left to the schema. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

/** RFC 8288, for an answer that is one page of many. */
function linkNextPage(
  request: FastifyRequest,
  reply: FastifyReply,
  { page }: ControlCall,
  answer: Readonly<Record<string, unknown>>,
): void {
  const next = page === undefined ? null : answer[page.output]
  if (page === undefined || next === null || next === undefined) return
  const [path = '', search = ''] = request.url.split('?')
  const query = new URLSearchParams(search)
  query.set(page.input, String(next))
  reply.header('link', `<${path}?${query}>; rel="next"`)
}
