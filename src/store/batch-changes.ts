import type { DatabaseSync } from 'node:sqlite'
import { BATCH_COLUMNS, BATCH_EVENT_CELLS } from './batch-rows.ts'
import type { ChangeOf } from './protocol.ts'
import type { Row } from './rows.ts'
import { first, prepareRows } from './statements.ts'

const PRINCIPAL_AT = BATCH_COLUMNS.indexOf('principal')
const KEY_AT = BATCH_COLUMNS.indexOf('key')

/** The writer's work on batches, inside an open transaction. Each answers with the row of the batch as it is then. */
export function createBatchChanges(db: DatabaseSync) {
  const insert = prepareRows(
    db,
    `INSERT INTO batches (${BATCH_COLUMNS}) VALUES (${BATCH_COLUMNS.map(() => '?')})
      ON CONFLICT (principal, key) WHERE key IS NOT NULL DO NOTHING RETURNING ${BATCH_COLUMNS}`,
  )
  const keyed = prepareRows(db, `SELECT ${BATCH_COLUMNS} FROM batches WHERE principal = ? AND key = ?`)
  const update = prepareRows(
    db,
    `UPDATE batches SET state = ?, progress = ifnull(?, progress), updated_at = ?, finished_at = ifnull(?, finished_at)
      WHERE id = ? AND state IN (SELECT value FROM json_each(?)) RETURNING ${BATCH_COLUMNS}`,
  )
  const lastEvent = prepareRows(db, 'SELECT max(seq) FROM batch_events WHERE batch = ?')
  const insertEvent = db.prepare('INSERT INTO batch_events (batch, seq, type, at, data) VALUES (?, ?, ?, ?, ?)')

  function addEvents(id: string, events: Row): void {
    if (events.length === 0) return
    let seq = Number(first(lastEvent, id)?.[0] ?? 0)
    for (let at = 0; at < events.length; at += BATCH_EVENT_CELLS) {
      seq += 1
      insertEvent.run(id, seq, events[at] ?? null, events[at + 1] ?? null, events[at + 2] ?? null)
    }
  }

  return {
    create([, batch, events]: ChangeOf<'createBatch'>): Row {
      const row = first(insert, ...batch)
      if (row !== undefined) addEvents(String(batch[0]), events)
      return row ?? first(keyed, batch[PRINCIPAL_AT] ?? null, batch[KEY_AT] ?? null) ?? []
    },
    change([, id, from, values, events]: ChangeOf<'changeBatch'>): Row | null {
      const row = first(update, ...values, id, JSON.stringify(from))
      if (row !== undefined) addEvents(id, events)
      return row ?? null
    },
  }
}
