import type { Clock } from '../../../core/clock.ts'
import { createLanes, type Lanes } from '../lanes.ts'
import type { Host } from './groups.ts'

/** Extra connections to one host at once; OpenSSH begins to drop unauthenticated ones at 10 (MaxStartups). */
const PER_HOST = 4
/** Extra connections at once in all: what there may be beyond max_connections. */
const IN_ALL = 10

/** Connections beyond the limits, so that a command can be ended while the pool is full. */
export interface Extras {
  /** As `Lanes.run`, by host and in all. */
  run<T>(host: Host, clock: Clock, timeoutMs: number, work: (leftMs: number) => Promise<T>): Promise<T>
  inUse(): number
}

export function createExtras(): Extras {
  const all = createLanes(IN_ALL)
  const byHost = new WeakMap<Host, Lanes>()
  let inUse = 0

  function lanesOf(host: Host): Lanes {
    let lanes = byHost.get(host)
    if (lanes === undefined) {
      lanes = createLanes(PER_HOST)
      byHost.set(host, lanes)
    }
    return lanes
  }

  return {
    run: (host, clock, timeoutMs, work) =>
      lanesOf(host).run(clock, timeoutMs, (leftMs) =>
        all.run(clock, leftMs, async (left) => {
          inUse += 1
          host.extra += 1
          try {
            return await work(left)
          } finally {
            inUse -= 1
            host.extra -= 1
          }
        }),
      ),
    inUse: () => inUse,
  }
}
