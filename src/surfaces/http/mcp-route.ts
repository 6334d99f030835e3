import type { FastifyInstance } from 'fastify'
import { freeYoungGeneration, holdYoungGeneration } from '../../core/young-generation.ts'
import type { Instance } from '../../runtime/instance.ts'
import type { McpHttp } from '../mcp/http.ts'
import type { HttpSettings } from './app.ts'
import { callerOf } from './caller.ts'

/** Where MCP is served. */
export const MCP_PATH = '/mcp'

/** What is shown there. */
export type McpSettings = Pick<HttpSettings, 'mcp_profile' | 'mcp_read_only'>

/** MCP over HTTP, behind the guard of all routes. Its code is loaded by the first request: most servers never need it. */
export function mcpRoute(
  instance: Instance,
  version: string,
  settings: McpSettings,
): (app: FastifyInstance) => Promise<void> {
  let loading: Promise<McpHttp> | undefined

  function loaded(): Promise<McpHttp> {
    loading ??= load().catch((error: unknown) => {
      // The next request tries again.
      loading = undefined
      throw error
    })
    return loading
  }

  async function load(): Promise<McpHttp> {
    const { mcpHttpHandler } = await import('../mcp/http.ts')
    const { mcp_profile: profile, mcp_read_only: readOnly } = settings
    return mcpHttpHandler({ registry: instance.registry, instance, version, profile, readOnly })
  }

  return async (app) => {
    await app.register(async (scope) => {
      // The protocol reads its body itself, with a limit and with refusals of its own.
      scope.removeAllContentTypeParsers()
      scope.addContentTypeParser('*', (_request, _body, done) => done(null))
      scope.route({
        method: ['POST', 'GET', 'DELETE'],
        url: MCP_PATH,
        exposeHeadRoute: false,
        async handler(request, reply) {
          const { principal } = callerOf(request)
          // With the first call, which loads still more than the handler itself.
          const first = loading === undefined
          const free = first ? heldYoungGeneration() : undefined
          try {
            const mcp = await loaded()
            reply.hijack()
            await mcp.handle(request.raw, reply.raw, { principal })
          } finally {
            free?.()
          }
        },
      })
    })
    app.addHook('onClose', async () => {
      const mcp = await loading?.catch(() => undefined)
      await mcp?.close()
    })
  }
}

/** Longest that the first call holds the young generation small, in milliseconds: it may be one that waits for a run. */
const MOST_HELD_MS = 3_000

/** Holds it until the returned function is called, or that is over. */
function heldYoungGeneration(): () => void {
  holdYoungGeneration()
  const timer = setTimeout(freeYoungGeneration, MOST_HELD_MS)
  timer.unref()
  return () => {
    clearTimeout(timer)
    freeYoungGeneration()
  }
}
