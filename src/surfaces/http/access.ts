import rateLimit from '@fastify/rate-limit'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Principal } from '../../core/context.ts'
import { type MhvError, mhvError } from '../../core/errors.ts'
import type { Access } from './caller.ts'
import { type GuardRules, judge } from './guard.ts'

export interface RateSettings {
  readonly rate_limit_per_second: number
  readonly rate_limit_burst: number
}

/** Most peers and tokens whose requests are counted at a time; the longest unheard ones are forgotten first. */
const MOST_COUNTED = 5_000

/**
 * Over TCP: Host, Origin and token, on everything but the probes. Who fails counts against the limit of the address, so
 * that guessing is slow; who has a token counts against the token's.
 */
export function guarded(rules: () => GuardRules, settings: RateSettings): Access {
  return async (app) => {
    const keys = new WeakMap<FastifyRequest, string>()
    await app.register(rateLimit, {
      global: false,
      max: settings.rate_limit_burst,
      timeWindow: Math.ceil((1000 * settings.rate_limit_burst) / settings.rate_limit_per_second),
      cache: MOST_COUNTED,
      keyGenerator: (request) => keys.get(request) ?? `peer:${request.ip}`,
    })
    const count = app.createRateLimit()
    app.addHook('onRequest', async (request) => {
      if (request.routeOptions.config.probe === true) return
      const verdict = judge(request.raw, rules())
      if ('principal' in verdict) keys.set(request, verdict.principal.id)
      const counted = await count(request)
      if (!counted.isAllowed && counted.isExceeded) throw tooMany(counted.ttlInSeconds)
      if ('refusal' in verdict) throw verdict.refusal
      request.caller = { principal: verdict.principal, surface: 'http' }
    })
  }
}

function tooMany(seconds: number): MhvError {
  return mhvError('MHV_HTTP_RATE_LIMITED', 'more requests than the limit allows', { retryAfter: Math.max(1, seconds) })
}

/** Header in which a process of the same user says which surface it is. */
export const SURFACE_HEADER = 'mahavishnu-surface'
const SURFACES = ['mcp', 'cli', 'embedded', 'http']

/** Over the Unix socket: only the user who owns it can open it, so whoever asks is that user. */
export function owner(principal: Principal): Access {
  return (app: FastifyInstance) => {
    app.addHook('onRequest', async (request) => {
      const said = request.headers[SURFACE_HEADER]
      const surface = typeof said === 'string' && SURFACES.includes(said) ? said : 'http'
      request.caller = { principal, surface }
    })
  }
}
