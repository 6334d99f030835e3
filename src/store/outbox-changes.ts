import type { DatabaseSync } from 'node:sqlite'
import { OUTBOX_COLUMNS } from './dead-letter-rows.ts'
import type { ChangeOf } from './protocol.ts'

/** The writer's work on the outbox, inside an open transaction. Each answers whether it changed anything. */
export function createOutboxChanges(db: DatabaseSync) {
  const insert = db.prepare(
    `INSERT OR IGNORE INTO outbox (${OUTBOX_COLUMNS}) VALUES (${OUTBOX_COLUMNS.map(() => '?')})`,
  )
  const remove = db.prepare('DELETE FROM outbox WHERE id = ?')
  const fail = db.prepare('UPDATE outbox SET attempts = ?, next_at = ?, error = ? WHERE id = ?')
  const changed = ({ changes }: { readonly changes: number | bigint }) => Number(changes) > 0
  return {
    enqueue: ([, entry]: ChangeOf<'enqueueOutbox'>) => changed(insert.run(...entry)),
    done: ([, id]: ChangeOf<'outboxDone'>) => changed(remove.run(id)),
    failed: ([, id, attempts, next_at, error]: ChangeOf<'outboxFailed'>) =>
      changed(fail.run(attempts, next_at, error, id)),
  }
}
