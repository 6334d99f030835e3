import { monitorEventLoopDelay } from 'node:perf_hooks'
import { toMhvError } from '../core/errors.ts'
import type { Store } from '../store/store.ts'
import type { Readiness } from './instance.ts'
import type { WorkerInstances } from './lifecycle.ts'

/** Event-loop delay since the look before, in milliseconds, from which on this process counts as stuck. */
const MAX_LAG_MS = 5_000

/** Whether this process is alive enough to be left running, as a service manager's watchdog asks. */
export interface Vitals {
  /** Looks at the delay of the event loop, a write to the journal, and the heartbeat of every running worker. */
  check(): Promise<Readiness>
  stop(): void
}

type LoopDelay = Pick<ReturnType<typeof monitorEventLoopDelay>, 'enable' | 'disable' | 'max' | 'reset'>

export function createVitals(
  store: Pick<Store, 'check'>,
  instances: Pick<WorkerInstances, 'unwell'>,
  { delay = monitorEventLoopDelay(), maxLagMs = MAX_LAG_MS }: { delay?: LoopDelay; maxLagMs?: number } = {},
): Vitals {
  delay.enable()

  async function check(): Promise<Readiness> {
    const lagMs = delay.max / 1e6
    delay.reset()
    const reasons = lagMs > maxLagMs ? [`the event loop stood still for ${Math.round(lagMs)} ms`] : []
    const journal = await store.check().then(
      () => [],
      (error: unknown) => [toMhvError(error).code],
    )
    const unwell = (await instances.unwell()).map((name) => `worker ${name} does not answer`)
    const all = [...reasons, ...journal, ...unwell]
    return { ready: all.length === 0, reasons: all }
  }

  return { check, stop: () => void delay.disable() }
}
