import type { IncomingMessage, ServerResponse } from 'node:http'
import { toNodeHandler } from '@modelcontextprotocol/node'
import { createMcpHandler, type McpRequestContext, type McpServerFactory } from '@modelcontextprotocol/server'
import type { Clock } from '../../core/clock.ts'
import type { Principal } from '../../core/context.ts'
import type { Registry } from '../../core/registry.ts'
import type { Instance } from '../../runtime/instance.ts'
import { closedSignal } from '../http/closed-signal.ts'
import type { Caller } from './caller.ts'
import type { ExposureOptions } from './exposure.ts'
import { openInstanceSource } from './on-demand.ts'
import { mcpServerFactory } from './server.ts'

/** Most bytes of a request: an input may have 1 MiB, and JSON may take several bytes for one of them. */
export const MAX_REQUEST_BYTES = 8 * 1024 * 1024

export interface McpHttpParts extends ExposureOptions {
  readonly registry: Registry
  readonly instance: Instance
  readonly version: string
  readonly clock?: Clock
}

export interface McpHttpRequest {
  /** Who the guard in front says it is: the name of the token. */
  readonly principal: Principal
  /** The body where a framework has parsed it already. */
  readonly body?: unknown
}

/** MCP over HTTP, to be mounted at `/mcp` for POST, GET and DELETE. */
export interface McpHttp {
  /**
   * Serves one request; resolves when its answer is written. It checks neither Host, nor Origin, nor a token: whoever
   * mounts it puts all three in front.
   */
  handle(request: IncomingMessage, response: ServerResponse, from: McpHttpRequest): Promise<void>
  /** Ends what is being answered. Runs end with the instance. */
  close(): Promise<void>
}

/** The handler of both eras: one server for every request, made by the same factory as on stdio. */
export function mcpHttpHandler(parts: McpHttpParts): McpHttp {
  const instance = openInstanceSource(parts.instance)
  const onError = (error: Error) => parts.instance.log.debug('mcp: a request was refused', { error: error.message })
  return serveFactory(mcpServerFactory({ ...parts, instance, callerOf }), onError)
}

/** Serves any factory over HTTP. Separate for the conformance suite, which needs tools of its own on this transport. */
export function serveFactory(factory: McpServerFactory, onError: (error: Error) => void): McpHttp {
  const handler = createMcpHandler(factory, { onerror: onError, maxRequestBodySize: MAX_REQUEST_BYTES })
  const serve = toNodeHandler(handler, { onerror: onError, maxRequestBodySize: MAX_REQUEST_BYTES })
  return {
    async handle(request, response, { principal, body }) {
      // The SDK hands `auth` on to the factory. The token itself stays with the guard: nothing may pass it on.
      // The SDK tells nobody of a connection of the 2025 era that is cut.
      const extra: CallerFacts = { principal, gone: closedSignal({ raw: response }) }
      const auth = { token: '', clientId: principal.id, scopes: [], extra }
      await serve(Object.assign(request, { auth }), response, body)
    },
    close: () => handler.close(),
  }
}

/** What the factory is told of a request: a type alias, since only those fit a record of anything. */
type CallerFacts = { readonly principal: Principal; readonly gone: AbortSignal }

function callerOf({ era, authInfo }: McpRequestContext): Caller {
  const { principal, gone } = (authInfo?.extra ?? {}) as Partial<CallerFacts>
  // A request without a principal never reaches this place; acting as the process would be worse than failing.
  if (principal === undefined) throw new Error('an MCP request over HTTP has no principal')
  return { principal, aborted: era === 'modern' ? 'broken' : 'nothing', ...(gone === undefined ? {} : { gone }) }
}
