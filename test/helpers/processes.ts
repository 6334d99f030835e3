import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { KILL_REPORT } from '../../src/workers/ssh/kill-script.ts'

/** Processes of this machine, read from /proc. For tests that look what a command left behind. */

interface Stat {
  readonly name: string
  readonly state: string
  readonly parent: number
  readonly session: number
}

export function statOf(pid: number): Stat | undefined {
  let text: string
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch {
    return undefined
  }
  const end = text.lastIndexOf(')')
  const [state = '', parent, , session] = text.slice(end + 2).split(' ')
  return { name: text.slice(text.indexOf('(') + 1, end), state, parent: Number(parent), session: Number(session) }
}

export function allPids(): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
}

/** Runs, and is no zombie. */
export function isRunning(pid: number): boolean {
  const stat = statOf(pid)
  return stat !== undefined && !/[ZX]/.test(stat.state)
}

export function childrenOf(pid: number): number[] {
  return allPids().filter((child) => statOf(child)?.parent === pid && isRunning(child))
}

export function sessionOf(session: number): number[] {
  return allPids().filter((pid) => statOf(pid)?.session === session && isRunning(pid))
}

/** Running processes in whose environment or arguments this text stands. */
export function carrying(text: string): number[] {
  return allPids().filter((pid) => {
    if (pid === process.pid || !isRunning(pid)) return false
    return ['environ', 'cmdline'].some((file) => {
      try {
        return readFileSync(`/proc/${pid}/${file}`, 'latin1').includes(text)
      } catch {
        return false
      }
    })
  })
}

/** Fails where a process with this text is left, but for the shell that has ended it: it carries the run's id as well. */
export function noneCarries(text: string, when?: string): void {
  const ending = new Set(carrying(KILL_REPORT))
  assert.deepEqual(
    carrying(text).filter((pid) => !ending.has(pid)),
    [],
    when,
  )
}

/** The run to which a process belongs, by its environment or its arguments. */
export function runIdOf(pid: number): string | undefined {
  for (const file of ['environ', 'cmdline']) {
    try {
      const found = readFileSync(`/proc/${pid}/${file}`, 'latin1').match(/MAHAVISHNU_RUN_ID='?([0-9A-Z]{26})/)
      if (found) return found[1]
    } catch {
      return undefined
    }
  }
  return undefined
}

/** Whether it was there to be told. */
export function signalIfThere(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name)
  } catch {
    return false
  }
}

/** Ends these processes, each by its PID, and waits until they are gone. */
export async function endAll(pids: readonly number[]): Promise<void> {
  for (const pid of pids) signalIfThere(pid, 'SIGKILL')
  for (let tries = 0; tries < 100 && pids.some(isRunning); tries++) await delay(20)
}

/** Waits until something holds; false when it did not within the time. */
export async function until(holds: () => boolean | Promise<boolean>, ms = 5_000): Promise<boolean> {
  const end = Date.now() + ms
  while (Date.now() < end) {
    if (await holds()) return true
    await delay(20)
  }
  return holds()
}

/** Ends everything that these runs have left on this machine. */
export async function endRuns(runs: readonly string[]): Promise<void> {
  const wanted = new Set(runs)
  await endAll(carrying('MAHAVISHNU_RUN_ID').filter((pid) => wanted.has(runIdOf(pid) ?? '')))
}

let handled = false

/** Lets a signal run the exit handlers, which it would not: they take away what the test has started. */
export function exitOnSignals(): void {
  if (handled) return
  handled = true
  process.once('SIGTERM', () => process.exit(143))
  process.once('SIGINT', () => process.exit(130))
}
