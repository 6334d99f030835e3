import type { FastifyInstance } from 'fastify'
import { type Clock, systemClock } from '../../core/clock.ts'
import { mhvError, systemCode } from '../../core/errors.ts'
import type { Instance } from '../../runtime/instance.ts'
import { guarded, owner } from './access.ts'
import { createHttpApp, type HttpSettings } from './app.ts'
import { type GuardRules, type HttpToken, isLoopback, rulesFor } from './guard.ts'
import { addLocalRoutes } from './local-routes.ts'
import { createHttpMetrics } from './metrics.ts'
import type { Calls } from './operations.ts'
import { createFollowers } from './run-events.ts'
import { makeSocketPlace } from './socket.ts'

export interface HttpServerParts {
  readonly instance: Instance
  readonly token: HttpToken
  readonly settings: HttpSettings
  readonly version: string
  readonly clock?: Clock
  /** Adds routes of another protocol. They stand behind the same guard, with `request.caller` as all others. */
  readonly mount?: (app: FastifyInstance) => void | Promise<void>
}

export interface HttpServer {
  /** Starts to listen. Throws MHV_CONFIG_INVALID where the address cannot be had. */
  listen(): Promise<Listening>
  /** From now on nothing new is taken, and `/readyz` says so. What runs is answered. */
  drain(): void
  /** Ends everything that is still open. */
  close(): Promise<void>
}

export interface Listening {
  /** `http://127.0.0.1:7420` */
  readonly url: string
  readonly socket: string
  /** Whether other machines can reach it. */
  readonly exposed: boolean
}

/** How long answers that are on their way get to arrive before connections are ended, in milliseconds. */
const FINISH_MS = 2_000

/** An instance over HTTP: on TCP for whoever has the token, and on a Unix socket for the user who runs it. */
export async function createHttpServer(parts: HttpServerParts): Promise<HttpServer> {
  const { instance, token, settings, mount, version, clock = systemClock } = parts
  const metrics = createHttpMetrics(instance)
  let rules: GuardRules = { token, hosts: new Set(), origins: new Set() }
  let draining = false
  let place: Awaited<ReturnType<typeof makeSocketPlace>> | undefined
  const followers = createFollowers(settings.max_event_streams)
  const common = { instance, settings, version, clock, metrics, followers, draining: () => draining }
  const calls: Calls = new Map()
  const tcp = await createHttpApp({ ...common, via: 'tcp', access: guarded(() => rules, settings), mount })
  const socket = await createHttpApp({
    ...common,
    via: 'socket',
    access: owner(instance.principal),
    calls,
    mount: (app) => addLocalRoutes(app, { instance, version, calls }),
  })

  async function listen(): Promise<Listening> {
    place = await makeSocketPlace(instance.folder)
    await socket.app.listen({ path: place.path })
    await place.secure()
    const { host, port } = await listenOn(tcp.app, settings)
    rules = rulesFor({ host, port }, token, settings)
    const name = host.includes(':') ? `[${host}]` : host
    return { url: `http://${name}:${port}`, socket: place.path, exposed: !isLoopback(host) }
  }

  return {
    listen,
    drain() {
      draining = true
    },
    async close() {
      draining = true
      const late = clock.sleep(FINISH_MS)
      await Promise.race([late, Promise.all([tcp.answered(), socket.answered()])])
      await Promise.all([tcp.app.close(), socket.app.close()])
      metrics.close()
      await place?.remove()
    },
  }
}

async function listenOn(app: FastifyInstance, { host, port }: HttpSettings): Promise<{ host: string; port: number }> {
  try {
    await app.listen({ host, port })
  } catch (error) {
    const why = systemCode(error) ?? String(error)
    throw mhvError('MHV_CONFIG_INVALID', `http.host and http.port: cannot listen on ${host} port ${port} (${why})`, {
      remedy: 'Choose another port with http.port (0 for any that is free), or stop what listens there.',
      cause: error,
    })
  }
  const address = app.server.address()
  return { host, port: typeof address === 'object' && address !== null ? address.port : port }
}
