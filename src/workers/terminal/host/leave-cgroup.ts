import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { systemCode } from '../../../core/errors.ts'

/** What runtime/worker-process names the control group of a worker's process. */
const WORKER_GROUP = /^mahavishnu-[a-z_]+-\d+-\d+$/
/** Beside it, where the group above may hold no process itself. It has no limits, and all PTY hosts may share it. */
const OWN_GROUP = 'mahavishnu-terminals'

/**
 * A worker in a process of its own may have a control group (version 2), which is ended with it and whose memory limit is
 * the worker's: the terminals leave it. Nothing is done elsewhere.
 *
 * @throws where it cannot be left: the terminals would end with the worker
 */
export function leaveWorkerCgroup({
  root = '/sys/fs/cgroup',
  membership = '/proc/self/cgroup',
  pid = process.pid,
} = {}): void {
  const own = ownGroup(membership)
  if (own === null || !WORKER_GROUP.test(basename(own))) return
  const above = join(root, dirname(own))
  try {
    enter(above, pid)
  } catch (error) {
    if (systemCode(error) !== 'EBUSY') throw error
    const beside = join(above, OWN_GROUP)
    mkdirSync(beside, { recursive: true })
    enter(beside, pid)
  }
}

function enter(group: string, pid: number): void {
  writeFileSync(join(group, 'cgroup.procs'), String(pid), { flag: 'r+' })
}

function ownGroup(membership: string): string | null {
  try {
    return /^0::(\/.*)$/m.exec(readFileSync(membership, 'utf8'))?.[1] ?? null
  } catch {
    return null
  }
}
