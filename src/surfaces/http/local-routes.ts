import type { FastifyInstance } from 'fastify'
import { mhvError } from '../../core/errors.ts'
import type { Instance } from '../../runtime/instance.ts'
import { callerOf } from './caller.ts'
import { closedSignal } from './closed-signal.ts'
import { bodyObject } from './json-body.ts'
import type { Calls } from './operations.ts'

/** Version of what is said over the socket beside the public routes. A client refuses a newer one by name. */
export const LOCAL_PROTOCOL = 1

export const LOCAL_PATHS = {
  instance: '/local/instance',
  control: '/local/control',
  calls: '/local/calls',
} as const

/** A call that is still on its way, or over: its caller knows which, and asks again while it waits for the answer. */
const NOT_HERE_YET = 404

/** What a client needs to know to stand for the instance. */
export interface InstanceFacts {
  readonly protocol: number
  readonly version: string
  readonly pid: number
  readonly folder: string
  readonly ready: boolean
  readonly reasons: readonly string[]
  readonly targets: readonly string[]
  readonly targets_by_worker: Readonly<Record<string, readonly string[]>>
  readonly manager: Instance['managerLimits']
}

interface LocalParts {
  readonly instance: Instance
  readonly version: string
  readonly calls: Calls
}

/** Routes of the socket alone: for the command line and MCP of the same user, which stand on the running instance. */
export function addLocalRoutes(app: FastifyInstance, { instance, version, calls }: LocalParts): void {
  app.get(LOCAL_PATHS.instance, async (): Promise<InstanceFacts> => {
    const { ready, reasons } = await instance.readiness()
    const names = instance.registry.workers.map(({ name }) => name)
    return {
      protocol: LOCAL_PROTOCOL,
      version,
      pid: process.pid,
      folder: instance.folder,
      ready,
      reasons,
      targets: instance.targetNames(),
      targets_by_worker: Object.fromEntries(names.map((name) => [name, instance.targetNames(name)])),
      manager: instance.managerLimits,
    }
  })
  app.post(`${LOCAL_PATHS.control}/:name`, async (request, reply) => {
    const { name } = request.params as { readonly name: string }
    const { input } = bodyObject(request.body)
    const { principal } = callerOf(request)
    return instance.control({ name, input, principal, signal: closedSignal(reply) })
  })
  app.delete(`${LOCAL_PATHS.calls}/:id`, async (request, reply) => {
    const { id } = request.params as { readonly id: string }
    const call = calls.get(id)
    call?.stop.abort(mhvError('MHV_RUN_CANCELLED', 'the caller cancelled or went away'))
    return reply.code(call === undefined ? NOT_HERE_YET : 204).send()
  })
  app.delete(`${LOCAL_PATHS.calls}/:id/caller`, async (request, reply) => {
    const { id } = request.params as { readonly id: string }
    const call = calls.get(id)
    call?.left.abort()
    return reply.code(call === undefined ? NOT_HERE_YET : 204).send()
  })
}
