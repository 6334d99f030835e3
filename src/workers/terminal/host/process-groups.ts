import { readdirSync, readFileSync } from 'node:fs'
import { systemCode } from '../../../core/errors.ts'
import { exec } from '../../../core/exec.ts'

/** How long `ps` may take where there is no /proc, in milliseconds. */
const PS_MS = 5_000

interface ProcessStat {
  readonly session: number
  /** Foreground process group of its terminal; -1 without one. */
  readonly foreground: number
}

/** Undefined where no such process runs, or without /proc. See proc_pid_stat(5): fields 3, 6 and 8. */
function statOf(pid: number): ProcessStat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1')
    // The name is in parentheses and may itself contain some.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    // Ended, and its parent has not asked for its end: init may take its time.
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined
    return { session: Number(fields[3]), foreground: Number(fields[5]) }
  } catch {
    return undefined
  }
}

/** The foreground process group of the terminal whose session leader this is; null where there is none. */
export async function foregroundGroup(leader: number): Promise<number | null> {
  const group = process.platform === 'linux' ? statOf(leader)?.foreground : await foregroundByPs(leader)
  return group !== undefined && group > 1 ? group : null
}

async function foregroundByPs(leader: number): Promise<number | undefined> {
  const args = ['-o', 'tpgid=', '-p', String(leader)]
  const { exit_code, stdout } = await exec({ program: 'ps', args, timeoutMs: PS_MS, maxBytes: 1_024 })
  return exit_code === 0 ? Number(stdout.trim()) : undefined
}

/** How old a look at all processes may be to be used again, in milliseconds: it costs some. */
const LOOK_MS = 25
let look: { readonly at: number; readonly members: ReadonlyMap<number, readonly number[]> } | undefined

/**
 * Processes of the session that this one leads or led, as they were at this time (of `performance.now()`) or later: who
 * is none of them then can be none later. Without /proc only the leader itself is known, as its group.
 */
export function sessionMembers(leader: number, since: number): readonly number[] {
  if (process.platform !== 'linux') return isThere(-leader) ? [-leader] : []
  const now = performance.now()
  if (look === undefined || look.at < since || now - look.at > LOOK_MS) look = { at: now, members: allMembers() }
  return look.members.get(leader) ?? []
}

function allMembers(): Map<number, number[]> {
  const members = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    const session = Number.isInteger(pid) ? statOf(pid)?.session : undefined
    if (session === undefined) continue
    const known = members.get(session)
    if (known === undefined) members.set(session, [pid])
    else known.push(pid)
  }
  return members
}

/** To a process, or to a group where the number is negative. False where there is none. */
export function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal)
    return true
  } catch (error) {
    // EPERM: it is there, and belongs to somebody else by now (sudo).
    if (systemCode(error) === 'ESRCH') return false
    throw error
  }
}

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return systemCode(error) === 'EPERM'
  }
}
