import type { DatabaseSync } from 'node:sqlite'
import { MhvError, mhvError } from '../core/errors.ts'
import { createChanges } from './changes.ts'
import { journalError } from './journal-errors.ts'
import type { Answer, Change, Refusal } from './protocol.ts'
import { first, prepareRows } from './statements.ts'

/** With so many changes a transaction takes no further list; bounds how long the first of them waits for the last. */
const MAX_GROUP = 1024

export type Reply = Answer | Refusal

/** Gives the changes that have arrived, list by list; undefined when there are none now. */
export type NextChanges = () => readonly Change[] | undefined

function moveLog(db: DatabaseSync): void {
  try {
    db.exec('PRAGMA wal_checkpoint(PASSIVE)')
  } catch {
    // No room for that either: the change that is tried next says so.
  }
}

/** Applies one change. An error of the table was thrown before anything was written: the transaction goes on. */
function createApply(db: DatabaseSync, fence: number): (change: Change) => Reply {
  const apply = createChanges(db, fence)
  return (change) => {
    try {
      return apply(change)
    } catch (error) {
      if (error instanceof MhvError) return { error: error.toWire() }
      throw error
    }
  }
}

/** This opening of the journal. */
export interface Opening {
  readonly fence: number
  /** Whether each transaction looks that the fence is still its own. */
  readonly fenced: boolean
}

/**
 * Commits changes in groups: all that `next` gives until it gives nothing is one transaction, so one sync of the
 * disk. The replies come in the order of the changes. What fails in a group fails alone: the group is then rolled
 * back, and each of its changes committed by itself.
 *
 * Each transaction looks first whether the journal still has the fence of this opening. If not,
 * another process has taken it over, and everything is refused from then on.
 */
export function createGroupCommit(
  db: DatabaseSync,
  path: string,
  opening: Opening,
): (next: NextChanges) => readonly Reply[] {
  const apply = createApply(db, opening.fence)
  const begin = db.prepare('BEGIN IMMEDIATE')
  const commit = db.prepare('COMMIT')
  const readFence = prepareRows(db, 'SELECT fence FROM instance')

  /** Inside the transaction: nobody can open the journal for writing before it ends. */
  function assertFence(): void {
    if (!opening.fenced) return
    const { fence } = opening
    const now = first(readFence)?.[0]
    if (now !== fence) throw new FencedError(path, fence, Number(now))
  }

  /** Runs the work in the transaction that has begun. */
  function finish<T>(work: () => T): T {
    try {
      assertFence()
      const result = work()
      commit.run()
      return result
    } catch (error) {
      // On a full disk SQLite may have rolled back already.
      if (db.isTransaction) db.exec('ROLLBACK')
      throw error
    }
  }

  function commitEach(changes: readonly Change[]): Reply[] {
    let mayMakeRoom = true
    const commitAlone = (change: Change): Reply => {
      try {
        begin.run()
        return finish(() => apply(change))
      } catch (error) {
        const refusal = error instanceof FencedError ? error.refusal : journalError(error, path)
        if (refusal.code !== 'MHV_JOURNAL_FULL' || !mayMakeRoom) return { error: refusal.toWire() }
      }
      // Moving the log into the file lets the log be written from its start again, which needs no room. Once per group.
      mayMakeRoom = false
      moveLog(db)
      return commitAlone(change)
    }
    return changes.map(commitAlone)
  }

  return (next) => {
    const changes: Change[] = []
    const replies: Reply[] = []
    const take = (): boolean => {
      const more = changes.length < MAX_GROUP ? next() : undefined
      changes.push(...(more ?? []))
      return more !== undefined
    }
    if (!take()) return []
    try {
      begin.run()
    } catch (error) {
      // Another process holds the journal. Each change by itself would wait as long again.
      const refusal = { error: journalError(error, path).toWire() }
      return changes.map(() => refusal)
    }
    try {
      finish(() => {
        do {
          while (replies.length < changes.length) replies.push(apply(changes[replies.length] as Change))
        } while (take())
      })
      return replies
    } catch (error) {
      if (error instanceof FencedError) return changes.map(() => ({ error: error.refusal.toWire() }))
      return commitEach(changes)
    }
  }
}

/** Not an error of the table, since those end only their own change. */
class FencedError extends Error {
  readonly refusal: MhvError

  constructor(path: string, fence: number, now: number) {
    super('fenced')
    const message = `journal ${path} was opened for writing by another process since (fence ${now}, ours is ${fence})`
    this.refusal = mhvError('MHV_INSTANCE_FENCED', message, { details: { fence, fence_now: now } })
  }
}
