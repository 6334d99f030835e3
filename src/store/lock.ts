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

/**
 * Takes the lock of an instance folder. It is SQLite's own exclusive file lock, so the operating system gives it back
 * when the process dies, whatever killed it; a file beside it names the holder.
 *
 * Throws MHV_INSTANCE_LOCKED naming the holder.
 */
export async function lockInstance(folder: string, doing: string): Promise<InstanceLock> {
  const database = new DatabaseSync(join(folder, 'instance.lock'), { timeout: 0 })
  try {
    // journal_mode=MEMORY: the lock writes nothing, and leaves no file of its own behind.
    database.exec('PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
  } catch (error) {
    database.close()
    const holder = await lockHolder(folder)
    const who = holder
      ? `process ${holder.pid} on ${holder.host} (${holder.doing}, since ${holder.since})`
      : 'another process'
    throw mhvError('MHV_INSTANCE_LOCKED', `${folder} is held by ${who}`, { details: { folder, holder }, cause: error })
  }
  const holder: LockHolder = { pid: process.pid, host: hostname(), doing, since: isoTime(Date.now()) }
  await writeFile(holderFile(folder), `${JSON.stringify(holder)}\n`, { mode: 0o600 })
  return { release: () => database.close() }
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

function holderFile(folder: string): string {
  return join(folder, 'instance.holder.json')
}
