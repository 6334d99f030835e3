import { mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** A control group (version 2) of one process, where this user may make one. */
export interface Cgroup {
  add(pid: number): void
  /** Processes that the kernel has ended in it for want of memory. */
  outOfMemoryKills(): number
  /** Ends what is left in it, and removes it. */
  end(): void
}

export interface CgroupLimits {
  readonly memory_bytes: number
  /** Of one processor; null for no limit. */
  readonly cpu_percent: number | null
}

/** Microseconds of the period that the processor's share is counted in: the kernel's own default. */
const CPU_PERIOD_US = 100_000

/** A service, scope or slice of systemd: what lies beside it belongs to systemd. */
const SYSTEMD_UNIT = /\.(service|scope|slice)$/

/**
 * Makes a control group with these limits below the one of this process, or beside it where that was delegated. Null
 * where that cannot be: no version 2, no permission, or controllers that are not delegated.
 */
export function createCgroup(
  name: string,
  limits: CgroupLimits,
  { root = '/sys/fs/cgroup', membership = '/proc/self/cgroup', make = (folder: string) => void mkdirSync(folder) } = {},
): Cgroup | null {
  const own = ownPath(membership)
  if (own === null) return null
  const parents = own === '/' || SYSTEMD_UNIT.test(own) ? [own] : [own, dirname(own)]
  for (const parent of parents) {
    const made = makeIn(join(root, parent, name), limits, make)
    if (made !== null) return made
  }
  return null
}

/** Path of this process in the one hierarchy of version 2. */
function ownPath(membership: string): string | null {
  try {
    return /^0::(\/.*)$/m.exec(readFileSync(membership, 'utf8'))?.[1] ?? null
  } catch {
    return null
  }
}

function makeIn(
  folder: string,
  { memory_bytes, cpu_percent }: CgroupLimits,
  make: (folder: string) => void,
): Cgroup | null {
  try {
    // Fails where it has been done, or where processes are in it; then what is delegated already has to do.
    attempt(() => writeFileSync(join(dirname(folder), 'cgroup.subtree_control'), '+memory +cpu', { flag: 'r+' }))
    make(folder)
  } catch {
    return null
  }
  try {
    const write = (file: string, value: string) => writeFileSync(join(folder, file), value, { flag: 'r+' })
    write('memory.max', String(memory_bytes))
    if (cpu_percent !== null) write('cpu.max', `${Math.round((cpu_percent * CPU_PERIOD_US) / 100)} ${CPU_PERIOD_US}`)
    // Without swap what is over the limit is ended instead of slowed down; not every kernel counts it.
    attempt(() => write('memory.swap.max', '0'))
    return {
      add: (pid) => write('cgroup.procs', String(pid)),
      outOfMemoryKills: () => killsOf(folder),
      end() {
        // Since Linux 5.14; before that, what is left keeps it there.
        attempt(() => write('cgroup.kill', '1'))
        attempt(() => rmdirSync(folder))
      },
    }
  } catch {
    attempt(() => rmdirSync(folder))
    return null
  }
}

function killsOf(folder: string): number {
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync(join(folder, 'memory.events'), 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}

/** Does it where that is possible, and nothing otherwise. */
function attempt(act: () => void): void {
  try {
    act()
  } catch {
    // See the caller.
  }
}
