import { readFileSync } from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'
import { type LoadedSettings, settingsFor } from '../config/layers.ts'
import type { Registry } from '../core/registry.ts'

/** What this machine, or the container that this process is in, has. */
export interface HostCapacity {
  readonly memory_mb: number
  readonly processors: number
  /** Files that a process of ours may open at most; null where it is not known. */
  readonly open_files: number | null
}

const MEBIBYTE = 1_048_576
/** Memory of the main process under load, in MiB: what is left for the workers is less than the machine has. */
const MAIN_PROCESS_MB = 256

export function hostCapacity(): HostCapacity {
  const constrained = process.constrainedMemory()
  // Without a limit it is 0, or a number beyond all memory.
  const bytes = constrained > 0 ? Math.min(constrained, totalmem()) : totalmem()
  return { memory_mb: Math.floor(bytes / MEBIBYTE), processors: availableParallelism(), open_files: hardLimit() }
}

function hardLimit(): number | null {
  try {
    const hard = /^Max open files\s+\S+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1]
    return hard === undefined ? null : Number(hard)
  } catch {
    return null
  }
}

/** In which way the limits of the workers' processes go beyond the host, in words; empty where they do not. */
export function capacityOf(registry: Registry, loaded: LoadedSettings, host: HostCapacity): readonly string[] {
  const own = registry.workers
    .map((worker) => ({ name: worker.name, ...settingsFor(loaded, worker) }))
    .filter(({ isolation }) => isolation === 'process')
  if (own.length === 0) return []
  const memory = own.reduce((sum, each) => sum + each.process.memory_limit_mb, MAIN_PROCESS_MB)
  const cpu = own.reduce((sum, each) => sum + (each.process.cpu_percent ?? 0), 0)
  const excess: string[] = []
  if (memory > host.memory_mb) {
    excess.push(
      `the processes of the workers may hold ${memory} MiB with the main one; this host has ${host.memory_mb}`,
    )
  }
  if (cpu > host.processors * 100) {
    excess.push(`the workers may take ${cpu} % of a processor; this host has ${host.processors * 100}`)
  }
  for (const { name, process: limits } of own) {
    if (limits.open_files === null || host.open_files === null || limits.open_files <= host.open_files) continue
    excess.push(`worker ${name} may open ${limits.open_files} files; a process of this user, ${host.open_files}`)
  }
  return excess
}
