import type { PortName, Ports } from '../../core/ports.ts'

/** A port of another process: an object with every method that is asked for, each of which is a call over there. */
export function remotePort<P extends PortName>(
  call: (method: string, args: readonly unknown[]) => Promise<unknown>,
): Ports[P] {
  return new Proxy(Object.create(null), {
    get(_, method) {
      // A port that is given out by a promise is asked for `then`, and is no promise.
      if (typeof method !== 'string' || method === 'then') return undefined
      return (...args: unknown[]) => call(method, args)
    },
  })
}

/** Calls a method of a port of this process, by its name. */
export async function callPort(port: object, method: string, args: readonly unknown[]): Promise<unknown> {
  const found: unknown = (port as Record<string, unknown>)[method]
  if (typeof found !== 'function') throw new Error(`the port has no method ${method}`)
  return found.apply(port, args)
}
