import { randomUUID } from 'node:crypto'
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { isoTime, systemClock } from '../core/clock.ts'
import { type MhvError, mhvError, systemCode } from '../core/errors.ts'

/** Who holds an instance folder. */
export interface LockHolder {
  readonly pid: number
  readonly host: string
  /** What the process is doing: `mcp`, `ssh execute`, … */
  readonly doing: string
  readonly since: string
}

export interface InstanceLock {
  /** Gives it back; once is enough, and more do no harm. */
  release(): void
}

/** Longest wait for somebody who only looks whether the lock is free, in milliseconds; a holder keeps it far longer. */
const LOOK_MS = 100

/** What is held is held here too: a connection that nobody refers to is closed by the garbage collector. */
const held = new Set<DatabaseSync>()

/**
 * Takes the lock of an instance folder. It is SQLite's own exclusive file lock, so the operating system gives it back
 * when the process dies, whatever killed it; a file beside it names the holder. Nothing in this process may open
 * `instance.lock` itself: POSIX gives up a process's locks on a file when it closes any descriptor of it.
 *
 * Throws MHV_INSTANCE_LOCKED naming the holder, MHV_INSTANCE_INVALID where the folder cannot be used, or
 * MHV_JOURNAL_FULL where its disk is full.
 */
export async function lockInstance(folder: string, doing: string): Promise<InstanceLock> {
  const database = await takeLock(folder)
  held.add(database)
  const release = () => {
    if (held.delete(database)) database.close()
  }
  const holder: LockHolder = { pid: process.pid, host: hostname(), doing, since: isoTime(systemClock.now()) }
  try {
    await writeHolder(folder, holder)
  } catch (error) {
    release()
    throw unusable(folder, error)
  }
  return { release }
}

async function takeLock(folder: string): Promise<DatabaseSync> {
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(lockFile(folder), { timeout: LOOK_MS })
    // journal_mode=MEMORY: the lock writes nothing, and leaves no file of its own behind.
    database.exec('PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
    return database
  } catch (error) {
    database?.close()
    throw isBusy(error) ? await lockedError(folder, error) : unusable(folder, error)
  }
}

/** SQLITE_BUSY and SQLITE_LOCKED (https://www.sqlite.org/rescode.html); extended codes have them in their low byte. */
function isBusy(error: unknown): boolean {
  if (typeof error !== 'object' || error === null || !('errcode' in error)) return false
  return [5, 6].includes(Number(error.errcode) & 0xff)
}

function unusable(folder: string, error: unknown): MhvError {
  const why = error instanceof Error ? error.message : String(error)
  if (systemCode(error) === 'ENOSPC') {
    return mhvError('MHV_JOURNAL_FULL', `${folder} has no room for the name of its holder: ${why}`, { cause: error })
  }
  return mhvError('MHV_INSTANCE_INVALID', `${folder} cannot be locked: ${why}`, {
    details: { folder, system_code: systemCode(error) ?? null },
    cause: error,
  })
}

async function lockedError(folder: string, cause: unknown): Promise<MhvError> {
  const holder = await readHolder(folder)
  return mhvError('MHV_INSTANCE_LOCKED', `${folder} is held by ${holderText(holder)}`, {
    details: { folder, holder },
    cause,
  })
}

/** `process 4711 on box (mcp, since 2026-01-01T12:00:00.000Z)` */
export function holderText(holder: LockHolder | null): string {
  if (holder === null) return 'another process'
  return `process ${holder.pid} on ${holder.host} (${holder.doing}, since ${holder.since})`
}

/** Who holds the folder now; undefined when it is free. Takes nothing. Not for a process that may hold it itself. */
export async function instanceHeld(folder: string): Promise<{ readonly holder: LockHolder | null } | undefined> {
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(lockFile(folder), { timeout: 0, readOnly: true })
    database.prepare('SELECT count(*) FROM sqlite_schema').get()
    return undefined
  } catch (error) {
    // Without a lock file nobody has ever held it.
    return isBusy(error) ? { holder: await readHolder(folder) } : undefined
  } finally {
    database?.close()
  }
}

/** How long a holder may take from its lock to its name, in milliseconds. */
const NAMING_MS = 500

/**
 * Who holds the folder; null where it has not written that yet. After a crash the name of the holder before stands
 * there until then, so a process that is gone is not taken for the holder.
 */
async function readHolder(folder: string): Promise<LockHolder | null> {
  const until = systemClock.monotonic() + NAMING_MS
  for (;;) {
    const holder = await lastHolder(folder)
    if (holder !== null && !isGone(holder)) return holder
    if (systemClock.monotonic() >= until) return null
    await systemClock.sleep(20)
  }
}

async function lastHolder(folder: string): Promise<LockHolder | null> {
  try {
    return JSON.parse(await readFile(holderFile(folder), 'utf8')) as LockHolder
  } catch {
    // The lock itself is what counts; its holder is only named.
    return null
  }
}

function isGone({ pid, host }: LockHolder): boolean {
  if (host !== hostname()) return false
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return systemCode(error) === 'ESRCH'
  }
}

/** In one step, so that nobody reads half of it. */
async function writeHolder(folder: string, holder: LockHolder): Promise<void> {
  const draft = `${holderFile(folder)}.${randomUUID()}`
  try {
    await writeFile(draft, `${JSON.stringify(holder)}\n`, { mode: 0o600 })
    await rename(draft, holderFile(folder))
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}

function lockFile(folder: string): string {
  return join(folder, 'instance.lock')
}

function holderFile(folder: string): string {
  return join(folder, 'instance.holder.json')
}
