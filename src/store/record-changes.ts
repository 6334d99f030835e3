import type { DatabaseSync } from 'node:sqlite'
import type { Answers, ChangeOf } from './protocol.ts'
import { RECORD_CELLS } from './record-rows.ts'
import { first, prepareRows } from './statements.ts'

/** The writer's work on the records of workers, inside an open transaction. */
export function createRecordChanges(db: DatabaseSync) {
  const insert = db.prepare(
    'INSERT INTO records (worker, stream, key, at, meta, payload, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)',
  )
  const total = db.prepare(
    `INSERT INTO record_totals (worker, stream, count, bytes) VALUES (?, ?, ?, ?)
      ON CONFLICT (worker, stream) DO UPDATE SET count = count + excluded.count, bytes = bytes + excluded.bytes`,
  )
  const totals = prepareRows(db, 'SELECT bytes FROM record_totals WHERE worker = ? AND stream = ?')
  const oldest = prepareRows(
    db,
    'SELECT id, at, bytes FROM records WHERE worker = ? AND stream = ? ORDER BY at, id LIMIT ?',
  )
  const remove = db.prepare('DELETE FROM records WHERE id = ?')

  return {
    append([, worker, stream, cells]: ChangeOf<'appendRecords'>): Answers['appendRecords'] {
      let bytes = 0
      for (let at = 0; at < cells.length; at += RECORD_CELLS) {
        insert.run(worker, stream, ...cells.slice(at, at + RECORD_CELLS))
        bytes += Number(cells[at + RECORD_CELLS - 1])
      }
      if (cells.length > 0) total.run(worker, stream, cells.length / RECORD_CELLS, bytes)
      return null
    },
    retain([, worker, stream, before, max_bytes, limit]: ChangeOf<'retainRecords'>): Answers['retainRecords'] {
      const held = Number(first(totals, worker, stream)?.[0] ?? 0)
      const excess = max_bytes === null ? 0 : held - max_bytes
      let removed = 0
      let freed = 0
      for (const row of oldest.all(worker, stream, limit) as unknown as readonly number[][]) {
        const [id = 0, at = 0, bytes = 0] = row
        if (freed >= excess && (before === null || at >= before)) break
        remove.run(id)
        removed += 1
        freed += bytes
      }
      if (removed > 0) total.run(worker, stream, -removed, -freed)
      return removed
    },
  }
}
