import type { Principal } from '../../core/context.ts'
import { toMhvError } from '../../core/errors.ts'
import type { ControlRequest } from '../../runtime/call-control.ts'
import type { ControlCall } from '../../runtime/control.ts'
import type { Instance, InstanceOptions, Instances } from '../../runtime/instance.ts'

/** A control call of this surface; without a principal, whoever runs the process asks. */
export type ControlAsked = Omit<ControlRequest, 'principal' | 'name'> & { readonly principal?: Principal | undefined }

/** Where a server takes its instance from. */
export interface InstanceSource {
  get(): Promise<Instance>
  /** The instance, where there is one by now. */
  opened(): Instance | undefined
  /** Calls a control call; one that needs no running instance also works while another process holds the folder. */
  control(call: ControlCall, asked: ControlAsked): Promise<Record<string, unknown>>
}

/**
 * The instance of a server, opened by the first call that needs it: clients start a server only to ask what it can do,
 * some of them twice at once, and none of those may hold the folder's lock. What went wrong is told by each call, with
 * its remedy, and the next one tries again.
 */
export interface InstanceOnDemand extends InstanceSource {
  /** Ends what runs and closes the instance, where there is one. */
  close(): Promise<void>
}

function ask(of: Instance, call: ControlCall, { principal = of.principal, ...asked }: ControlAsked) {
  return of.control({ ...asked, name: call.name, principal })
}

/** An instance that is open already; whoever opened it closes it. */
export function openInstanceSource(instance: Instance): InstanceSource {
  return {
    get: async () => instance,
    opened: () => instance,
    control: (call, asked) => ask(instance, call, asked),
  }
}

export function instanceOnDemand(instances: Instances, options: InstanceOptions): InstanceOnDemand {
  let opening: Promise<Instance> | undefined
  let instance: Instance | undefined

  async function open(): Promise<Instance> {
    try {
      instance = await instances.use(options)
      return instance
    } catch (error) {
      opening = undefined
      throw error
    }
  }

  function get(): Promise<Instance> {
    opening ??= open()
    return opening
  }

  return {
    get,
    opened: () => instance,
    async control(call, asked) {
      const usable = await get().catch(async (error: unknown) => {
        if (call.needsRuntime || toMhvError(error).code !== 'MHV_INSTANCE_LOCKED') throw error
        return null
      })
      if (usable !== null) return ask(usable, call, asked)
      const reader = await instances.read(options)
      try {
        return await ask(reader, call, asked)
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
