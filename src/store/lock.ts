import { readFile, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { isoTime } from '../core/clock.ts'
import { mhvError } from '../core/errors.ts'

/** Who holds an instance folder. */
export interface LockHolder {
  readonly pid: number
  readonly host: string
  /** What the process is doing: `mcp`, `ssh execute`, … */
  readonly doing: string
  readonly since: string
}

export interface InstanceLock {
  release(): void
}

/** Longest wait for somebody who only looks at the lock, in milliseconds. A holder keeps it for much longer. */
const LOOK_MS = 100

/**
 * Takes the lock of an instance folder. It is SQLite's own exclusive file lock, so the operating system gives it back
 * when the process dies, whatever killed it; a file beside it names the holder.
 *
 * Throws MHV_INSTANCE_LOCKED naming the holder.
 */
export async function lockInstance(folder: string, doing: string): Promise<InstanceLock> {
  const database = new DatabaseSync(lockFile(folder), { timeout: LOOK_MS })
  try {
    // journal_mode=MEMORY: the lock writes nothing, and leaves no file of its own behind.
    database.exec('PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    const holder = await lockHolder(folder)
    throw mhvError('MHV_INSTANCE_LOCKED', `${folder} is held by ${holderText(holder)}`, {
      details: { folder, holder },
      cause: error,
    })
  }
  const holder: LockHolder = { pid: process.pid, host: hostname(), doing, since: isoTime(Date.now()) }
  await writeFile(holderFile(folder), `${JSON.stringify(holder)}\n`, { mode: 0o600 })
  return { release: () => database.close() }
}

/** `process 4711 on box (mcp, since 2026-01-01T12:00:00.000Z)` */
export function holderText(holder: LockHolder | null): string {
  if (holder === null) return 'another process'
  return `process ${holder.pid} on ${holder.host} (${holder.doing}, since ${holder.since})`
}

/** Whether somebody holds the folder now, and who. Takes nothing. */
export async function instanceHeld(folder: string): Promise<{ readonly holder: LockHolder | null } | undefined> {
  let database: DatabaseSync
  try {
    database = new DatabaseSync(lockFile(folder), { timeout: 0, readOnly: true })
  } catch {
    // No lock file: nobody has ever held it.
    return undefined
  }
  try {
    database.prepare('SELECT count(*) FROM sqlite_schema').get()
    return undefined
  } catch {
    return { holder: await lockHolder(folder) }
  } finally {
    database.close()
  }
}

/** Who holds the folder, as the last holder wrote it; null when nobody ever did. It may have ended since. */
async function lockHolder(folder: string): Promise<LockHolder | null> {
  try {
    return JSON.parse(await readFile(holderFile(folder), 'utf8')) as LockHolder
  } catch {
    // A holder that is just starting has not written it yet: the lock itself is what counts.
    return null
  }
}

function lockFile(folder: string): string {
  return join(folder, 'instance.lock')
}

function holderFile(folder: string): string {
  return join(folder, 'instance.holder.json')
}
