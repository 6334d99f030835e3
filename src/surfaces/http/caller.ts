import type { FastifyInstance } from 'fastify'
import type { Principal } from '../../core/context.ts'

/** Who asks, and through which surface: `http`, or what a process of the same user says of itself over the socket. */
export interface Caller {
  readonly principal: Principal
  readonly surface: string
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Null only on the probes, which nobody has to be for. */
    caller: Caller | null
  }
  interface FastifyContextConfig {
    /** Answered to anybody: says nothing but a state. */
    probe?: boolean
  }
}

/** Finds out who asks, before anything else is done: a hook of every route and of what is no route. */
export type Access = (app: FastifyInstance) => void | Promise<void>

export function callerOf({ caller }: { readonly caller: Caller | null }): Caller {
  if (caller === null) throw new Error('a route that needs a caller is open to everybody')
  return caller
}
