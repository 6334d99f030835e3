import type { DatabaseSync } from 'node:sqlite'
import { MhvError } from '../core/errors.ts'
import { createChanges } from './changes.ts'
import { journalError } from './journal-errors.ts'
import type { Answer, Change, Refusal } from './protocol.ts'

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
function createApply(db: DatabaseSync): (change: Change) => Reply {
  const apply = createChanges(db)
  return (change) => {
    try {
      return apply(change)
    } catch (error) {
      if (error instanceof MhvError) return { error: error.toWire() }
      throw error
    }
  }
}

/**
 * Commits changes in groups: all that `next` gives until it gives nothing is one transaction, so one sync of the
 * disk. The replies come in the order of the changes. What fails in a group fails alone: the group is then rolled
 * back, and each of its changes committed by itself.
 */
export function createGroupCommit(db: DatabaseSync, path: string): (next: NextChanges) => readonly Reply[] {
  const apply = createApply(db)
  const begin = db.prepare('BEGIN IMMEDIATE')
  const commit = db.prepare('COMMIT')

  /** Runs the work in the transaction that has begun. */
  function finish<T>(work: () => T): T {
    try {
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
        const refusal = journalError(error, path)
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
    } catch {
      return commitEach(changes)
    }
  }
}
