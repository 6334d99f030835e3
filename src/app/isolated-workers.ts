import { settingsFor } from '../config/layers.ts'
import type { Clock } from '../core/clock.ts'
import type { Logger } from '../core/context.ts'
import type { Registry } from '../core/registry.ts'
import type { AnyWorker } from '../core/worker.ts'
import { type IsolatedWorkers, isolateWorkers } from '../runtime/isolate.ts'
import { capacityOf, hostCapacity } from './capacity.ts'
import type { InstanceSetting } from './setting.ts'

interface Parts {
  readonly registry: Registry
  readonly workersModule: URL
  readonly clock: Clock
}

/** The workers, those that the settings want in a process of their own by way of that. Warns of limits beyond the host. */
export function isolatedWorkers(
  { registry, clock, workersModule }: Parts,
  { loaded }: Pick<InstanceSetting, 'loaded'>,
  log: Logger,
): IsolatedWorkers {
  for (const excess of capacityOf(registry, loaded, hostCapacity())) log.warn(excess)
  const settingsOf = (worker: AnyWorker) => settingsFor(loaded, registry.worker(worker.name))
  return isolateWorkers(registry, { clock, log, workersModule, settingsOf })
}
