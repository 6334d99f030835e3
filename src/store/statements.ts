import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { PINNING_STATES } from './dead-letter.ts'
import { END_COLUMNS, HEAD_COLUMNS, type Row, RUN_COLUMNS, type SqlValue } from './rows.ts'

/** The writer's statements, prepared once. */

const COLUMNS = RUN_COLUMNS.join(', ')
const HEAD = HEAD_COLUMNS.join(', ')
const STATE = 'runs.id, runs.status, runs.effect_certainty, runs.started_at, runs.attempts'
const ASSIGNMENTS = ['status', 'started_at', ...END_COLUMNS].map((column) => `${column} = ?`).join(', ')
const PINNING = PINNING_STATES.map((state) => `'${state}'`).join(', ')
const SCOPE = 'k.principal = ? AND k.operation = ? AND k.target = ? AND k.key = ?'

function holes(count: number): string {
  return Array(count).fill('?').join(', ')
}

/** A statement whose rows come as lists in the order of its columns. */
export function prepareRows(db: DatabaseSync, sql: string): StatementSync {
  const statement = db.prepare(sql)
  statement.setReturnArrays(true)
  return statement
}

/** The first row of a statement of `prepareRows`. */
export function first(statement: StatementSync, ...values: SqlValue[]): Row | undefined {
  return statement.get(...values) as unknown as Row | undefined
}

function prepareRuns(db: DatabaseSync) {
  return {
    insertRun: db.prepare(
      `INSERT INTO runs (${COLUMNS}) VALUES (${holes(RUN_COLUMNS.length)}) ON CONFLICT (run_id) DO NOTHING`,
    ),
    findRun: prepareRows(db, `SELECT ${STATE} FROM runs WHERE run_id = ?`),
    runRow: prepareRows(db, `SELECT ${COLUMNS} FROM runs WHERE id = ?`),
    updateRun: prepareRows(db, `UPDATE runs SET ${ASSIGNMENTS} WHERE id = ? RETURNING ${HEAD}`),
    reopenRun: prepareRows(
      db,
      `UPDATE runs SET ${ASSIGNMENTS}, deadline = ?, fence = ? WHERE id = ? RETURNING ${HEAD}`,
    ),
    runHead: prepareRows(db, `SELECT ${HEAD} FROM runs WHERE id = ?`),
    adoptRun: prepareRows(
      db,
      `UPDATE runs SET fence = ? WHERE run_id = ? AND fence = ? AND status = 'running' RETURNING id`,
    ),
    lastEvent: prepareRows(db, 'SELECT max(seq) FROM events WHERE run = ?'),
    insertEvent: db.prepare('INSERT INTO events (run, seq, type, at, data) VALUES (?, ?, ?, ?, ?)'),
    lastChunk: prepareRows(db, 'SELECT max(seq) FROM output WHERE run = ?'),
    insertChunk: db.prepare('INSERT INTO output (run, seq, stream, gap_bytes, bytes) VALUES (?, ?, ?, ?, ?)'),
  }
}

function prepareKeys(db: DatabaseSync) {
  return {
    findKey: prepareRows(
      db,
      `SELECT ${STATE}, k.digest, k.expires_at, (SELECT state FROM dead_letters WHERE run = k.run)
        FROM idempotency_keys AS k JOIN runs ON runs.id = k.run WHERE ${SCOPE}`,
    ),
    keyedRun: prepareRows(
      db,
      `SELECT k.digest, ${RUN_COLUMNS.map((column) => `runs.${column}`)}
        FROM idempotency_keys AS k JOIN runs ON runs.id = k.run WHERE ${SCOPE} AND (k.expires_at > ?
          OR EXISTS (SELECT 1 FROM dead_letters WHERE run = k.run AND state IN (${PINNING})))`,
    ),
    putKey: db.prepare(
      `INSERT OR REPLACE INTO idempotency_keys (principal, operation, target, key, digest, expires_at, run)
        VALUES (${holes(7)})`,
    ),
    extendKey: db.prepare(`UPDATE idempotency_keys AS k SET expires_at = ? WHERE ${SCOPE}`),
    expireKeys: db.prepare(
      `DELETE FROM idempotency_keys WHERE (principal, operation, target, key) IN
        (SELECT principal, operation, target, key FROM idempotency_keys AS k WHERE expires_at <= ?
          AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE run = k.run AND state IN (${PINNING})) LIMIT ?)`,
    ),
  }
}

export function prepareChanges(db: DatabaseSync) {
  return {
    ...prepareRuns(db),
    ...prepareKeys(db),
    insertAudit: db.prepare(
      `INSERT INTO audit (at, principal, action, target, decision, rule, run_id, details) VALUES (${holes(8)})`,
    ),
    setState: db.prepare('INSERT OR REPLACE INTO worker_state (worker, key, value) VALUES (?, ?, ?)'),
    deleteState: db.prepare('DELETE FROM worker_state WHERE worker = ? AND key = ?'),
    getState: prepareRows(db, 'SELECT value FROM worker_state WHERE worker = ? AND key = ?'),
  }
}
export type Statements = ReturnType<typeof prepareChanges>
