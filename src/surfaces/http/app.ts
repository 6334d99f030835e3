import { type FastifyInstance, type FastifyReply, fastify } from 'fastify'
import type { CoreSettings } from '../../config/schema.ts'
import type { Clock } from '../../core/clock.ts'
import { mhvError } from '../../core/errors.ts'
import type { Instance } from '../../runtime/instance.ts'
import { type Access, callerOf } from './caller.ts'
import { addControlRoutes } from './control-routes.ts'
import { addMetricsRoute, type HttpMetrics } from './metrics.ts'
import { openApiDocument } from './openapi.ts'
import { addOperationRoute, type Calls } from './operations.ts'
import { addProbes } from './probes.ts'
import { PROBLEM_TYPE, type Problem, problemOf } from './problem.ts'
import { addRunEventsRoute, type Followers } from './run-events.ts'

export type HttpSettings = CoreSettings['http']

export interface HttpAppParts {
  readonly instance: Instance
  readonly settings: HttpSettings
  readonly version: string
  readonly clock: Clock
  readonly metrics: HttpMetrics
  readonly draining: () => boolean
  readonly via: 'tcp' | 'socket'
  /** Finds out who asks. Tests of the guard compose one that lets everybody in. */
  readonly access: Access
  /** Counts the event streams of the whole process. */
  readonly followers: Followers
  readonly calls?: Calls
  readonly mount?: ((app: FastifyInstance) => void | Promise<void>) | undefined
}

export interface HttpApp {
  readonly app: FastifyInstance
  /** Fulfilled when no request is being answered. */
  answered(): Promise<void>
}

/** Seconds for the head of a request, and for all of it; a slower client only holds a connection. */
const HEAD_MS = 10_000
const REQUEST_MS = 30_000
const KEEP_ALIVE_MS = 10_000
const MOST_CONNECTIONS = 1_000

/** Never reached, since a head has 16 KiB at most: the framework would refuse a longer part itself, past every hook. */
const MOST_PARAM_LENGTH = 1_048_576

/** No route has a schema of the framework's, since calls are checked where they are made: its own checker is not loaded. */
const noSchemas = () => () => {
  throw new Error('a route must have no schema of Fastify')
}

/** One application: who asks is found out first, then the routes, which are derived. Nothing here knows a worker. */
export async function createHttpApp(parts: HttpAppParts): Promise<HttpApp> {
  const { instance, settings, clock, draining } = parts
  const app = fastify({
    logger: false,
    bodyLimit: settings.max_body_bytes,
    requestTimeout: REQUEST_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    forceCloseConnections: true,
    exposeHeadRoutes: false,
    return503OnClosing: false,
    schemaController: { compilersFactory: { buildValidator: noSchemas, buildSerializer: noSchemas } },
    routerOptions: { maxParamLength: MOST_PARAM_LENGTH },
    rewriteUrl: ({ url = '/' }) => (isDecodable(url) ? url : NOWHERE),
  })
  app.server.headersTimeout = HEAD_MS
  app.server.maxConnections = MOST_CONNECTIONS
  // Text is what a page of anybody may send without asking first.
  app.removeContentTypeParser('text/plain')
  app.decorateRequest('caller', null)
  parts.metrics.observe(app, parts.via)
  const answered = countAnswers(app)
  app.addHook('onSend', async (_request, reply) => setCommonHeaders(reply))
  app.setErrorHandler((thrown, _request, reply) => sendProblem(instance, reply, thrown))
  app.setNotFoundHandler((request, reply) => {
    // Also here: what is no route must not be told to anybody either.
    callerOf(request)
    return sendProblem(instance, reply, mhvError('MHV_HTTP_ROUTE', `nothing is here for ${request.method}`))
  })
  await parts.access(app)

  addProbes(app, instance, draining, clock)
  addOperationRoute(app, { instance, draining, ...(parts.calls === undefined ? {} : { calls: parts.calls }) })
  addRunEventsRoute(app, { instance, clock, followers: parts.followers })
  addControlRoutes(app, instance)
  addMetricsRoute(app, parts.metrics)
  addDocumentRoute(app, parts)
  await parts.mount?.(app)
  return { app, answered }
}

/** A path that no route has. */
const NOWHERE = '/-'

function isDecodable(url: string): boolean {
  try {
    decodeURIComponent(url.split('?', 1)[0] ?? '')
    return true
  } catch {
    // The framework would answer this one itself, past every hook.
    return false
  }
}

function addDocumentRoute(app: FastifyInstance, { instance, version }: HttpAppParts): void {
  let text: string | undefined
  app.get('/openapi.json', { exposeHeadRoute: false }, async (_request, reply) => {
    text ??= JSON.stringify(openApiDocument(instance.registry, version))
    return reply.type('application/json').send(text)
  })
}

function setCommonHeaders(reply: FastifyReply): void {
  reply.header('cache-control', 'no-store')
  reply.header('x-content-type-options', 'nosniff')
  reply.header('content-security-policy', "default-src 'none'")
}

function sendProblem(instance: Instance, reply: FastifyReply, thrown: unknown): FastifyReply {
  const problem: Problem = instance.redact(problemOf(thrown))
  if (problem.code === 'MHV_INTERNAL') instance.log.error('a request failed that should not', { error: thrown })
  if (problem.retry_after !== undefined) reply.header('retry-after', String(Math.ceil(problem.retry_after)))
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer realm="mahavishnu"')
  return reply.code(problem.status).type(PROBLEM_TYPE).send(JSON.stringify(problem))
}

function countAnswers(app: FastifyInstance): () => Promise<void> {
  let open = 0
  let idle: (() => void) | undefined
  app.addHook('onRequest', async (_request, reply) => {
    open += 1
    reply.raw.once('close', () => {
      open -= 1
      if (open === 0) idle?.()
    })
  })
  return () =>
    open === 0
      ? Promise.resolve()
      : new Promise((resolve) => {
          idle = resolve
        })
}
