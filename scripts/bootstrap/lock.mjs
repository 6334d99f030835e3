// @ts-check
/**
 * A lock between processes: a folder that only one can make, holding its owner's process id.
 * Two first runs at once (an editor and a shell, say) must not both write node_modules.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** How long a lock without an owner's note is believed: its maker is between `mkdir` and the write. */
const graceMs = 5_000
const pollMs = 200

/**
 * When a process started, in the kernel's ticks; tells a reused process id from the one that took the lock.
 * @param {number} pid
 * @returns {string} empty where /proc does not exist
 */
function startOf(pid) {
  try {
    // The name in parentheses may hold spaces: count fields after the last ')'. Start time is field 22 (proc(5)).
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}

/** @param {string} lock @returns {string} the owner's note, empty while there is none */
function noteOf(lock) {
  try {
    return readFileSync(join(lock, 'pid'), 'utf8')
  } catch {
    return ''
  }
}

/** @param {string} lock @param {string} note */
function isStale(lock, note) {
  if (note === '') {
    try {
      return Date.now() - statSync(lock).mtimeMs > graceMs
    } catch {
      return false
    }
  }
  const [pid, start] = note.trim().split(' ')
  try {
    process.kill(Number(pid), 0)
  } catch (error) {
    return /** @type {NodeJS.ErrnoException} */ (error).code === 'ESRCH'
  }
  return start !== undefined && start !== '' && startOf(Number(pid)) !== start
}

/** Removes a lock whose owner is gone, unless somebody else did so and took it in the meantime. @param {string} lock @param {string} judged */
function removeStale(lock, judged) {
  const aside = `${lock}.${process.pid}.stale`
  try {
    renameSync(lock, aside)
  } catch {
    return
  }
  // Between judging and renaming another process may have replaced the lock by its own: give that one back.
  if (noteOf(aside) !== judged) {
    try {
      renameSync(aside, lock)
      return
    } catch {
      // A third one made the folder again: then the lock that was set aside has lost anyway.
    }
  }
  rmSync(aside, { recursive: true, force: true })
}

/** @param {string} lock @returns {boolean} whether the lock is ours now */
function tryTake(lock) {
  mkdirSync(dirname(lock), { recursive: true })
  try {
    mkdirSync(lock)
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code === 'EEXIST') return false
    throw error
  }
  writeFileSync(join(lock, 'pid'), `${process.pid} ${startOf(process.pid)}`)
  return true
}

/**
 * Runs `work` while holding the lock; waits for its holder, and takes it over from one that died.
 * @template T
 * @param {string} lock the folder that is the lock
 * @param {(message: string) => void} say
 * @param {() => T | Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(lock, say, work) {
  let told = false
  while (!tryTake(lock)) {
    const note = noteOf(lock)
    if (isStale(lock, note)) {
      removeStale(lock, note)
      continue
    }
    if (!told) say(`waiting for process ${note.split(' ')[0] || '(starting)'}, which is doing the same`)
    told = true
    await sleep(pollMs)
  }
  // A run ended by Ctrl-C leaves the lock behind; the next one finds its owner gone.
  try {
    return await work()
  } finally {
    rmSync(lock, { recursive: true, force: true })
  }
}
