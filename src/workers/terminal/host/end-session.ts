import { setTimeout as delay } from 'node:timers/promises'
import { sendSignal, sessionMembers } from './process-groups.ts'

/** How long to wait after KILL: a process in uninterruptible sleep goes when the kernel lets it. */
const AFTER_KILL_MS = 2_000
const FIRST_POLL_MS = 10
const LAST_POLL_MS = 50

/**
 * Ends what runs in the session of a leader: HUP, as when a terminal is closed (and CONT, for what was stopped), then
 * KILL. A program that made itself a session of its own is not part of it. To be called while the leader is there, or as
 * its end is told: later its number may be that of another process.
 *
 * @returns how many processes are still there
 */
export async function endMembers(leader: number, graceMs: number): Promise<number> {
  const began = performance.now()
  const told = new Set<number>()
  let empty = 0
  for (let pause = FIRST_POLL_MS; ; pause = Math.min(pause * 2, LAST_POLL_MS)) {
    // First, since most are gone by then: what is closed has had its HUP from the kernel.
    await delay(pause)
    const members = sessionMembers(leader, empty === 0 ? began : performance.now())
    const passed = performance.now() - began
    // One look takes a while: a process that it has not come to yet may start another one, which it does not see, and end.
    empty = members.length === 0 ? empty + 1 : 0
    if (empty === 2 || passed >= graceMs + AFTER_KILL_MS) return members.length
    for (const pid of members) {
      if (passed >= graceMs) signalQuietly(pid, ['SIGKILL'])
      else if (!told.has(pid)) signalQuietly(pid, ['SIGHUP', 'SIGCONT'])
      told.add(pid)
    }
  }
}

function signalQuietly(pid: number, signals: readonly NodeJS.Signals[]): void {
  for (const signal of signals) {
    try {
      sendSignal(pid, signal)
    } catch {
      // It belongs to another user (sudo): that its terminal is closed is what ends it.
    }
  }
}
