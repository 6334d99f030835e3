import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { rm, statfs, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { systemCode } from '../../../src/core/errors.ts'
import { fillDisk, fillerOf } from '../../helpers/disk.ts'
import { childrenOf, signalIfThere, until } from '../../helpers/processes.ts'
import type { TcpProxy } from '../../helpers/tcp-proxy.ts'
import { UNDER_WAY_MS } from './check.ts'
import { monotonicMs } from './far-side.ts'
import type { Instances, Life } from './instances.ts'
import { type Fault, type FaultKind, LANE_NAMES, type Schedule } from './schedule.ts'

export interface FaultParts {
  readonly instances: Instances
  readonly folder: string
  /** The ways to the far side and to the SSH server. */
  readonly links: readonly TcpProxy[]
  /** File with the offset of the instances' clock; null where they have the machine's. */
  readonly clockFile: string | null
  /** Whether the workers have processes of their own; without, there is nothing to do for that lane. */
  readonly isolated: boolean
  /** Whether the folder is a small disk of its own, which may be filled. */
  readonly ownDisk: boolean
  /** Calls a process that was taken over, as clients do that still have its address. */
  callStale(life: Life): Promise<readonly string[]>
  /** Why this kind cannot be had here; null where it can. */
  skipped(kind: FaultKind): string | null
}

/** What was done, and when: seconds from the beginning. */
export interface TimelineEntry {
  readonly at: number
  readonly text: string
}

export interface FaultLog {
  readonly counts: Partial<Record<FaultKind, number>>
  readonly skipped: ReadonlySet<string>
  readonly timeline: readonly TimelineEntry[]
  /** Processes that were taken over while they were stopped. */
  readonly takenOver: readonly Life[]
}

/** Room that the disk has while it is not full, in bytes: what the journal has grown by is given back to it. */
const DISK_ROOM = 8 * 1024 * 1024
/** How long a process is stopped before its lock is broken, in milliseconds: longer than its lease holds. */
const STOPPED_MS = 1_300

/** Lets the faults of a schedule happen. `run` resolves when the last one is over and everything works again. */
export function createFaults(parts: FaultParts, schedule: Schedule, signal: AbortSignal) {
  const counts: Partial<Record<FaultKind, number>> = {}
  const skipped = new Set<string>()
  const timeline: TimelineEntry[] = []
  const takenOver: Life[] = []
  const began = performance.now()
  let full = false
  const note = (text: string) => void timeline.push({ at: Math.round(performance.now() - began) / 1_000, text })

  async function runLane(faults: readonly Fault[], untilMs: number): Promise<void> {
    for (const fault of faults) {
      const reason = parts.skipped(fault.kind)
      if (reason !== null) {
        skipped.add(`${fault.kind}: ${reason}`)
        continue
      }
      // What comes after the end does not happen, so that a slow machine does not make the storm longer.
      if (performance.now() - began + fault.after_ms > untilMs) return
      await delay(fault.after_ms, undefined, { signal })
      counts[fault.kind] = (counts[fault.kind] ?? 0) + 1
      await actOn(fault)
    }
  }

  function actOn(fault: Fault): Promise<void> {
    const { for_ms = 0, bytes = 0, offset_seconds = 0, which = 0 } = fault
    if (fault.kind === 'kill') return kill()
    if (fault.kind === 'pause') return pause(for_ms)
    if (fault.kind === 'steal') return steal()
    if (fault.kind === 'drop') return drop(bytes)
    if (fault.kind === 'flap') return flap(for_ms)
    if (fault.kind === 'stall') return stall(for_ms)
    if (fault.kind === 'disk_full') return fill(for_ms)
    if (fault.kind === 'worker_kill') return killWorker(which)
    if (fault.kind === 'worker_stop') return stopWorker(which, for_ms)
    return jump(offset_seconds)
  }

  async function kill(): Promise<void> {
    const life = parts.instances.current()
    if (life === null) return
    await parts.instances.kill(life)
    note(`process ${life.number} killed`)
    await restart()
  }

  async function restart(): Promise<void> {
    const next = await parts.instances.start()
    if (next !== null) note(`process ${next.number} ready`)
  }

  async function pause(ms: number): Promise<void> {
    const life = parts.instances.current()
    if (life === null) return
    life.signal('SIGSTOP')
    note(`process ${life.number} stopped`)
    await delay(ms)
    life.signal('SIGCONT')
    note(`process ${life.number} goes on`)
  }

  async function steal(): Promise<void> {
    const { instances, folder } = parts
    const first = instances.current()
    if (first === null) return
    first.signal('SIGSTOP')
    first.expected = true
    note(`process ${first.number} stopped, its lock is broken`)
    await delay(STOPPED_MS)
    await rm(join(folder, 'instance.lock'), { force: true })
    // It may have been stopped in the middle of a write, and then holds the journal itself.
    const second = await instances.start(2)
    if (second === null) {
      note(`nobody could take over from process ${first.number}`)
      await instances.kill(first)
      return restart()
    }
    note(`process ${second.number} has taken over`)
    first.signal('SIGCONT')
    first.takenOverAt = monotonicMs()
    takenOver.push(first)
    await delay(UNDER_WAY_MS + 100)
    const answers = await parts.callStale(first)
    note(`process ${first.number} is called and answers ${answers.join(', ')}`)
    await instances.kill(first)
    note(`process ${first.number} killed`)
  }

  async function drop(bytes: number): Promise<void> {
    for (const link of parts.links) link.cutAfter(bytes)
    note(`links are cut after ${bytes} bytes`)
  }

  async function flap(ms: number): Promise<void> {
    note('links flap')
    for (const end = performance.now() + ms; performance.now() < end; await delay(10)) {
      for (const link of parts.links) link.cutAfter(0)
    }
    for (const link of parts.links) link.cutAfter(Number.POSITIVE_INFINITY)
    note('links hold again')
  }

  async function stall(ms: number): Promise<void> {
    for (const link of parts.links) link.stall()
    note('links stalled')
    await delay(ms)
    for (const link of parts.links) link.resume()
    note('links pass on again')
  }

  async function fill(ms: number): Promise<void> {
    full = true
    const filler = await fillWhole(parts.folder)
    note('disk full')
    await delay(ms)
    await rm(filler, { force: true })
    full = false
    note('disk has room again')
  }

  /** One of the processes that the workers have, as soon as there is any. */
  async function workerProcess(which: number): Promise<number | undefined> {
    let own: readonly number[] = []
    const found = () => {
      const life = parts.instances.current()
      own = life === null ? [] : childrenOf(life.pid).filter(isWorkerProcess)
      return own.length > 0 || signal.aborted
    }
    await until(found, 30_000)
    return own[Math.floor(which * own.length)]
  }

  async function killWorker(which: number): Promise<void> {
    const pid = await workerProcess(which)
    if (pid === undefined) return
    signalIfThere(pid, 'SIGKILL')
    note(`process ${pid} of a worker killed`)
  }

  async function stopWorker(which: number, ms: number): Promise<void> {
    const pid = await workerProcess(which)
    if (pid === undefined) return
    signalIfThere(pid, 'SIGSTOP')
    note(`process ${pid} of a worker stopped`)
    await delay(ms)
    // Its pid is nobody else's while it is a worker's process.
    const goesOn = isWorkerProcess(pid) && signalIfThere(pid, 'SIGCONT')
    note(`process ${pid} of a worker ${goesOn ? 'goes on' : 'was replaced'}`)
  }

  async function jump(seconds: number): Promise<void> {
    if (parts.clockFile === null) return
    await writeFile(parts.clockFile, `${seconds >= 0 ? '+' : ''}${seconds}\n`)
    note(`clock is off by ${seconds} s`)
  }

  async function keepDiskUsable(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      await delay(500, undefined, { signal: stop }).catch(() => undefined)
      if (parts.ownDisk && !full) await keepRoom(parts.folder)
    }
  }

  return {
    log: { counts, skipped, timeline, takenOver } satisfies FaultLog,
    keepDiskUsable,
    async run(untilMs: number): Promise<void> {
      const lanes = LANE_NAMES.filter((name) => name !== 'worker' || parts.isolated)
      await Promise.all(lanes.map((name) => runLane(schedule[name], untilMs)))
    },
  }
}

function isWorkerProcess(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes('/worker-process/child.')
  } catch {
    return false
  }
}

/** To the last byte, also when somebody else writes there meanwhile. */
async function fillWhole(folder: string): Promise<string> {
  return fillDisk(folder, 0).catch((error: unknown) => {
    if (systemCode(error) !== 'ENOSPC') throw error
    return fillerOf(folder)
  })
}

/** A long storm writes more than fits: the disk grows by what is in the journal, so that there are 8 MB for the rest. */
async function keepRoom(folder: string): Promise<void> {
  const { blocks, bavail, bsize } = await statfs(folder)
  if (bavail * bsize > DISK_ROOM / 2) return
  execFileSync('mount', ['-o', `remount,size=${blocks * bsize + DISK_ROOM / 2}`, folder])
}
