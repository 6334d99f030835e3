import type { DatabaseSync } from 'node:sqlite'
import { DEAD_LETTER_STATES, type DeadLetterState } from './dead-letter.ts'
import { LETTER_COLUMNS, LETTER_OVERHEAD, type LetterRow } from './dead-letter-rows.ts'
import type { Answers, ChangeOf } from './protocol.ts'
import type { SqlValue } from './rows.ts'
import { DROP_ORDER } from './rules.ts'
import { first, prepareRows } from './statements.ts'

/** The writer's work on dead letters, inside an open transaction. */

/** Columns of `decodeDeadLetter`, of `dead_letters AS d`. */
export const LETTER_SELECT = LETTER_COLUMNS.map((column) =>
  column === 'id' ? 'd.id, (SELECT run_id FROM runs WHERE runs.id = d.run)' : `d.${column}`,
).join(', ')

function prepareLetters(db: DatabaseSync) {
  return {
    ofRun: prepareRows(db, 'SELECT id, bytes FROM dead_letters WHERE run = ?'),
    size: prepareRows(
      db,
      `SELECT ${LETTER_OVERHEAD} + octet_length(input) + octet_length(coalesce(error, '')) FROM runs WHERE id = ?`,
    ),
    totals: prepareRows(db, 'SELECT count, bytes FROM dead_letter_totals'),
    insert: db.prepare(
      `INSERT INTO dead_letters (id, run, worker, operation, target, principal, error_code, error, effect,
          effect_certainty, state, replays, max_replays, policy, next_at, last_run_id, created_at, updated_at, bytes)
        SELECT ?, id, worker, operation, target, principal, error_code, error, effect,
          effect_certainty, 'open', 0, ?, ?, ?, NULL, finished_at, finished_at, ?
        FROM runs WHERE id = ?`,
    ),
    again: db.prepare(
      `UPDATE dead_letters AS d SET state = 'open', max_replays = ?, policy = ?, next_at = ?, bytes = ?,
          error_code = r.error_code, error = r.error, effect_certainty = r.effect_certainty, updated_at = r.finished_at
        FROM runs AS r WHERE r.id = d.run AND d.run = ?`,
    ),
    oldest: prepareRows(db, 'SELECT id FROM dead_letters WHERE state = ? ORDER BY id LIMIT 1'),
    remove: db.prepare('DELETE FROM dead_letters WHERE id = ?'),
    count: db.prepare('UPDATE dead_letter_totals SET dropped = dropped + ?, rejected = rejected + ?'),
    setAside: db.prepare(
      `UPDATE dead_letters SET state = 'archived', next_at = NULL, updated_at = coalesce(?, updated_at)
        WHERE run = ? AND state IN ('open', 'poison')`,
    ),
    select: prepareRows(db, `SELECT ${LETTER_SELECT} FROM dead_letters AS d WHERE d.id = ?`),
  }
}
type LetterStatements = ReturnType<typeof prepareLetters>

/** Makes room for `bytes` more in one letter more. False where the rule does not allow it, or all of it is not enough. */
function makeRoom(sql: LetterStatements, bytes: number, [, , , , maxCount, maxBytes, overflow]: LetterRow): boolean {
  if (bytes > maxBytes || maxCount < 1) return false
  for (;;) {
    const [count = 0, total = 0] = (first(sql.totals) ?? []) as readonly number[]
    if (count < maxCount && total + bytes <= maxBytes) return true
    if (overflow === 'reject') return false
    const victim = DROP_ORDER.map((state) => first(sql.oldest, state)?.[0]).find((id) => id !== undefined)
    if (victim === undefined) return false
    sql.remove.run(victim)
    sql.count.run(1, 0)
  }
}

export interface LetterChanges {
  /** After the run's end was written. */
  add(run: number, letter: LetterRow): void
  /** The run is opened again under its key: its letter does not wait any longer. */
  setAside(run: number, at: number | null): void
  change(change: ChangeOf<'changeDeadLetter'>): Answers['changeDeadLetter']
  remove(change: ChangeOf<'deleteDeadLetters'>): Answers['deleteDeadLetters']
}

export function createLetterChanges(db: DatabaseSync): LetterChanges {
  const sql = prepareLetters(db)

  function add(run: number, letter: LetterRow): void {
    const [id, policy, maxReplays, nextAt] = letter
    const bytes = Number(first(sql.size, run)?.[0])
    if (first(sql.ofRun, run) !== undefined) {
      sql.again.run(maxReplays, policy, nextAt, bytes, run)
      return
    }
    if (makeRoom(sql, bytes, letter)) sql.insert.run(id, maxReplays, policy, nextAt, bytes, run)
    else sql.count.run(0, 1)
  }

  return {
    add,
    setAside: (run, at) => void sql.setAside.run(at, run),
    change([, id, from, to, at, replays, fields]) {
      const names = ['state = ?', 'updated_at = ?', ...fields.map(([column]) => `${column} = ?`)]
      const values: SqlValue[] = [to, at, ...fields.map(([, value]) => value), id]
      const expected = replays === null ? '' : `AND replays = ${Number(replays)}`
      const { changes } = db
        .prepare(`UPDATE dead_letters SET ${names} WHERE id = ? ${expected} AND state IN (${stateList(from)})`)
        .run(...values)
      return Number(changes) === 0 ? null : (first(sql.select, id) ?? null)
    },
    remove([, ids, states, before, limit]) {
      const { text, values } = selection(ids, states, before)
      return Number(
        db
          .prepare(
            `DELETE FROM dead_letters WHERE id IN (SELECT id FROM dead_letters WHERE ${text} ORDER BY id LIMIT ?)`,
          )
          .run(...values, limit).changes,
      )
    },
  }
}

/** States are words of ours: whatever else a caller gives is in no list. */
export function stateList(states: readonly DeadLetterState[]): string {
  return DEAD_LETTER_STATES.filter((state) => states.includes(state))
    .map((state) => `'${state}'`)
    .join(', ')
}

function selection(ids: readonly string[] | null, states: readonly DeadLetterState[] | null, before: number | null) {
  const conditions = ["state <> 'replaying'"]
  const values: SqlValue[] = []
  if (ids !== null) {
    conditions.push('id IN (SELECT value FROM json_each(?))')
    values.push(JSON.stringify(ids))
  }
  if (states !== null) conditions.push(`state IN (${stateList(states)})`)
  if (before !== null) {
    conditions.push('created_at < ?')
    values.push(before)
  }
  return { text: conditions.join(' AND '), values }
}
