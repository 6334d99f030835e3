import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/context.ts'
import { toMhvError } from '../core/errors.ts'
import type { Registry } from '../core/registry.ts'
import { startOrder } from '../core/start-order.ts'
import { fullJitter } from '../resilience/backoff.ts'
import type { WorkerInstances } from './lifecycle.ts'

/** The workers that are started with the instance, not at their first use. */
export interface Startup {
  /** Starts them in the background, those that others require first; what fails is tried again until `stop`. */
  begin(): void
  /** Names of those that are not up. */
  missing(): readonly string[]
  stop(): void
}

export function createStartup(parts: {
  readonly registry: Registry
  readonly instances: Pick<WorkerInstances, 'get' | 'started'>
  /** Names of workers: the setting `startup.workers`. */
  readonly wanted: readonly string[]
  readonly clock: Clock
  readonly log: Logger
}): Startup {
  const { registry, instances, wanted, clock, log } = parts
  const stopped = new AbortController()

  async function bringUp(name: string): Promise<void> {
    for (let attempt = 1; !stopped.signal.aborted; attempt++) {
      try {
        await instances.get(registry.worker(name))
        return
      } catch (error) {
        const { code, message } = toMhvError(error)
        if (code === 'MHV_SHUTTING_DOWN') return
        log.error('a worker does not start', { worker: name, attempt, error_code: code, message })
        await clock.sleep(fullJitter(attempt), stopped.signal).catch(() => undefined)
      }
    }
  }

  return {
    begin() {
      const ordered = startOrder(registry.workers).filter(({ name }) => wanted.includes(name))
      // Each waits for what it requires by itself; one that hangs does not keep strangers from starting.
      for (const { name } of ordered) void bringUp(name)
    },
    missing: () => wanted.filter((name) => instances.started(name) === undefined),
    stop: () => stopped.abort(),
  }
}
