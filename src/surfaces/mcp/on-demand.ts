import { toMhvError } from '../../core/errors.ts'
import type { ControlRequest } from '../../runtime/call-control.ts'
import type { ControlCall } from '../../runtime/control.ts'
import type { Instance, InstanceOptions, Instances } from '../../runtime/instance.ts'

/**
 * The instance of a server, opened by the first call that needs it: clients start a server only to ask what it can do,
 * some of them twice at once, and none of those may hold the folder's lock. What went wrong is told by each call, with
 * its remedy, and the next one tries again.
 */
export interface InstanceOnDemand {
  get(): Promise<Instance>
  /** Calls a control call; one that needs no running instance also works while another process holds the folder. */
  control(call: ControlCall, request: Omit<ControlRequest, 'principal' | 'name'>): Promise<Record<string, unknown>>
  /** Ends what runs and closes the instance, where there is one. */
  close(): Promise<void>
}

export function instanceOnDemand(instances: Instances, options: InstanceOptions): InstanceOnDemand {
  let opening: Promise<Instance> | undefined

  async function open(): Promise<Instance> {
    try {
      return await instances.open(options)
    } catch (error) {
      opening = undefined
      throw error
    }
  }

  function get(): Promise<Instance> {
    opening ??= open()
    return opening
  }

  const ask = (of: Instance, call: ControlCall, request: Omit<ControlRequest, 'principal' | 'name'>) =>
    of.control({ ...request, name: call.name, principal: of.principal })

  return {
    get,
    async control(call, request) {
      const usable = await get().catch(async (error: unknown) => {
        if (call.needsRuntime || toMhvError(error).code !== 'MHV_INSTANCE_LOCKED') throw error
        return null
      })
      if (usable !== null) return ask(usable, call, request)
      const reader = await instances.read(options)
      try {
        return await ask(reader, call, request)
      } finally {
        await reader.close()
      }
    },
    async close() {
      const last = await opening?.catch(() => undefined)
      await last?.close()
    },
  }
}
