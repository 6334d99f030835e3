import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/context.ts'
import type { ErrorCode } from '../core/error-table.ts'
import { toMhvError } from '../core/errors.ts'
import type { Registry } from '../core/registry.ts'
import { startOrder } from '../core/start-order.ts'
import { fullJitter } from '../resilience/backoff.ts'
import { targetsOf, type WorkerInstances } from './lifecycle.ts'
import type { Environment } from './runtime.ts'

/** Why a worker that is to be up is not. */
export interface FailedStart {
  /** Starts that were tried. */
  readonly attempts: number
  readonly error_code: ErrorCode
  readonly message: string
}

/** The workers that are started with the instance, not at their first use. */
export interface Startup {
  /** Starts them in the background, those that others require first; what fails is tried again until `stop`. */
  begin(): void
  /** Names of those that are not up. */
  missing(): readonly string[]
  /** The last start of a worker, where it failed; null where it is up, not tried yet, or not to be started. */
  failed(worker: string): FailedStart | null
  stop(): void
}

/** Workers with work of their own, as they say themselves: see WorkerSpec.standing. */
export function standingWorkers(
  registry: Registry,
  environment: Pick<Environment, 'workerSettings' | 'targetNames' | 'resolveTarget'>,
): readonly string[] {
  return registry.workers.flatMap(({ name, standing }) =>
    standing?.(environment.workerSettings(name), targetsOf(environment, name)) === true ? [name] : [],
  )
}

export function createStartup(parts: {
  readonly registry: Registry
  readonly instances: Pick<WorkerInstances, 'get' | 'started'>
  /** Names of workers: the setting `startup.workers`, and those that have work of their own. */
  readonly wanted: readonly string[]
  readonly clock: Clock
  readonly log: Logger
}): Startup {
  const { registry, instances, wanted, clock, log } = parts
  const stopped = new AbortController()
  const failures = new Map<string, FailedStart>()

  async function bringUp(name: string): Promise<void> {
    for (let attempts = 1; !stopped.signal.aborted; attempts++) {
      try {
        await instances.get(registry.worker(name))
        failures.delete(name)
        return
      } catch (error) {
        const { code, message } = toMhvError(error)
        if (code === 'MHV_SHUTTING_DOWN') return
        failures.set(name, { attempts, error_code: code, message })
        log.error('a worker does not start', { worker: name, attempt: attempts, error_code: code, message })
        await clock.sleep(fullJitter(attempts), stopped.signal).catch(() => undefined)
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
    // A call may have started it meanwhile.
    failed: (worker) => (instances.started(worker) === undefined ? (failures.get(worker) ?? null) : null),
    stop: () => stopped.abort(),
  }
}
