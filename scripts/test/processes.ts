/**
 * Finds what tests left running. A process counts as theirs if it carries the run's mark in its environment, or was
 * once seen below us in the tree of processes (sshd gives its sessions a fresh environment). Linux only: elsewhere
 * nothing is found.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

/** The environment variable that marks every process of a test run; its value is `<run>:<test file>`. */
export const markName = 'MHV_TEST_RUN'

/** Whether this system lets us look. */
export const canLookAtProcesses = existsSync('/proc/self/environ')

/** A live process; `start` (kernel ticks) tells it from a later one with the same id. */
export interface Process {
  readonly pid: number
  readonly parent: number
  readonly start: string
  readonly name: string
}

/** One process by its id; undefined if it is gone or only a zombie. */
export function lookAt(pid: number): Process | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // proc(5): "pid (name) state ppid … start"; the name may hold spaces and parentheses.
    const end = stat.lastIndexOf(')')
    const [state, parent, ...rest] = stat.slice(end + 2).split(' ')
    if (state === 'Z' || state === 'X') return undefined
    return { pid, parent: Number(parent), start: rest[17] ?? '', name: stat.slice(stat.indexOf('(') + 1, end) }
  } catch {
    return undefined
  }
}

function allProcesses(): Process[] {
  if (!canLookAtProcesses) return []
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => lookAt(Number(name)))
    .filter((found) => found !== undefined)
}

function markOf(pid: number): string | undefined {
  try {
    const environment = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0')
    return environment.find((entry) => entry.startsWith(`${markName}=`))?.slice(markName.length + 1)
  } catch {
    return undefined
  }
}

/** Live processes that carry a mark starting with `mark`. */
export function findMarked(mark: string): Process[] {
  return allProcesses().filter(({ pid }) => pid !== process.pid && markOf(pid)?.startsWith(mark))
}

/** Its command line, shortened, for a message. */
export function describeProcess({ pid, name }: Process): string {
  let command = name
  try {
    command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').join(' ').trim() || name
  } catch {
    // It ended in the meantime.
  }
  return `${pid} ${command.length > 160 ? `${command.slice(0, 160)}…` : command}`
}

/** Remembers everything that was ever seen below this process. */
export interface DescendantWatch {
  /** Those that are still alive. */
  alive(): Process[]
  stop(): void
}

/**
 * Starts to watch the tree below a process. It looks every half second: what lives shorter than that and detaches
 * itself is only found by its mark.
 */
export function watchDescendants(root: number = process.pid): DescendantWatch {
  const seen = new Map<number, string>()
  function look(): void {
    const now = allProcesses()
    for (const { pid, start } of now) if (seen.has(pid) && seen.get(pid) !== start) seen.delete(pid)
    // Children are listed in any order: repeat until nobody new is found.
    for (let size = -1; size !== seen.size; ) {
      size = seen.size
      for (const { pid, parent, start } of now) if (parent === root || seen.has(parent)) seen.set(pid, start)
    }
  }
  const timer = setInterval(look, 500)
  timer.unref()
  return {
    alive() {
      look()
      return [...seen]
        .map(([pid, start]) => ({ found: lookAt(pid), start }))
        .filter(({ found, start }) => found?.start === start)
        .flatMap(({ found }) => found ?? [])
    },
    stop() {
      clearInterval(timer)
    },
  }
}

function signal({ pid, start }: Process, name: NodeJS.Signals): void {
  // Between looking and acting the id may have gone to somebody else.
  if (lookAt(pid)?.start !== start) return
  try {
    process.kill(pid, name)
  } catch {
    // It was quicker.
  }
}

/** Ends processes: asks, waits up to two seconds, then forces. */
export async function endProcesses(processes: readonly Process[]): Promise<void> {
  for (const one of processes) signal(one, 'SIGTERM')
  const deadline = Date.now() + 2_000
  const isAlive = ({ pid, start }: Process) => lookAt(pid)?.start === start
  while (Date.now() < deadline && processes.some(isAlive)) await sleep(50)
  for (const one of processes) signal(one, 'SIGKILL')
}

/**
 * What is still there after a moment's grace (a child whose end was just asked for needs one), described; and ends it.
 * @param find looks for them anew
 */
export async function endLeftovers(find: () => Process[], graceMs = 2_000): Promise<readonly string[]> {
  const deadline = Date.now() + graceMs
  let found = find()
  while (found.length > 0 && Date.now() < deadline) {
    await sleep(50)
    found = find()
  }
  const described = found.map(describeProcess)
  await endProcesses(found)
  return described
}
