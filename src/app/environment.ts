import { statfs } from 'node:fs/promises'
import { dirname } from 'node:path'
import { settingsFor } from '../config/layers.ts'
import type { Clock } from '../core/clock.ts'
import { mhvError } from '../core/errors.ts'
import type { Registry } from '../core/registry.ts'
import type { Environment } from '../runtime/runtime.ts'
import type { InstanceSetting } from './setting.ts'

interface Parts {
  readonly registry: Registry
  readonly clock: Clock
}

/** How long a look at the free disk space counts, in milliseconds. */
const DISK_LOOK_MS = 1_000

/** What settings and inventory tell the runtime. */
export function environmentOf({ registry, clock }: Parts, setting: InstanceSetting): Environment {
  const { loaded, inventory, folder } = setting
  const { min_free_bytes } = loaded.values.journal
  let look: { readonly at: number; readonly free: Promise<number> } | undefined

  function freeBytes(): Promise<number> {
    if (look === undefined || clock.monotonic() - look.at > DISK_LOOK_MS) {
      look = { at: clock.monotonic(), free: freeBytesIn(dirname(setting.journalFile)) }
    }
    return look.free
  }

  return {
    folder,
    runs: loaded.values.runs,
    workerSettings: (worker) => settingsFor(loaded, registry.worker(worker)),
    breakerLimits: (worker) => settingsFor(loaded, registry.worker(worker)).circuit_breaker,
    deadLetters: (worker) => ({
      ...loaded.values.dead_letters,
      ...settingsFor(loaded, registry.worker(worker)).dead_letters,
    }),
    retryLimits: (worker) => settingsFor(loaded, registry.worker(worker)).retry,
    bandwidthLimit(worker, target) {
      const overrides = target === null ? undefined : inventory.resolve(target, worker).overrides
      return settingsFor(loaded, registry.worker(worker), overrides).bandwidth_limit
    },
    resolveTarget(name, worker) {
      const { target, overrides } = inventory.resolve(name, worker)
      return { target, settings: settingsFor(loaded, registry.worker(worker), overrides) }
    },
    targetNames(worker) {
      if (worker === undefined) return inventory.names()
      return inventory.list().flatMap((target) => (target.workers.includes(worker) ? target.name : []))
    },
    async checkDisk() {
      const free = await freeBytes()
      if (free >= min_free_bytes) return
      throw mhvError('MHV_DISK_LOW', `${free} bytes are free where the journal lies; the floor is ${min_free_bytes}`, {
        retryAfter: 30,
        details: { free_bytes: free, min_free_bytes },
      })
    },
  }
}

/** Free bytes of the disk that a folder lies on, for a process without privileges. */
export async function freeBytesIn(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}
