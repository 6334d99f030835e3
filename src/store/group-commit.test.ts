import assert from 'node:assert/strict'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { sampleEvent, sampleId, sampleRun } from '../testing/store-samples.ts'
import { encodeAppendEvents, encodeCreate, encodeStateSet } from './encode.ts'
import { createGroupCommit, type Reply } from './group-commit.ts'
import { type Change, isRefusal } from './protocol.ts'
import { migrate } from './schema.ts'

/** A database in memory that counts its commits. */
function setUp() {
  const db = new DatabaseSync(':memory:')
  migrate(db, 'journal.db')
  let commits = 0
  const prepare = db.prepare.bind(db)
  db.prepare = (sql, options) => {
    const statement = prepare(sql, options)
    if (sql !== 'COMMIT') return statement
    const run = statement.run.bind(statement)
    statement.run = () => {
      commits += 1
      return run()
    }
    return statement
  }
  const commit = createGroupCommit(db, 'journal.db', { fence: 1, fenced: true })
  return {
    db,
    commits: () => commits,
    /** What is replied to lists of changes that arrive one after the other. */
    send(...lists: (readonly Change[])[]): readonly Reply[] {
      const left = [...lists]
      return commit(() => left.shift())
    },
    count: (table: string) => Number(prepare(`SELECT count(*) AS n FROM ${table}`).get()?.n),
  }
}

function run(n: number, data: object = {}): Change {
  return encodeCreate(sampleRun(n, { events: [sampleEvent('accepted'), sampleEvent('progress', { ...data })] }), 0, 1)
    .change
}

function codes(replies: readonly Reply[]): string[] {
  return replies.map((reply) => (isRefusal(reply) ? reply.error.code : 'done'))
}

test('everything that has arrived is one transaction', () => {
  const { send, commits, count } = setUp()
  assert.deepEqual(codes(send([run(1), run(2)], [run(3)], [run(4), run(5)])), Array(5).fill('done'))
  assert.deepEqual([commits(), count('runs')], [1, 5])
})

test('a transaction has an end, however much arrives', () => {
  const { send, commits } = setUp()
  const state = (n: number) => encodeStateSet('w', String(n), n).change
  const lists = Array.from({ length: 3_000 }, (_, n) => [state(n), state(n)])
  assert.equal(send(...lists).length, 1_024)
  assert.equal(commits(), 1)
})

test('nothing is replied where nothing has arrived', () => {
  const { send, commits } = setUp()
  assert.deepEqual([send(), commits()], [[], 0])
})

test('a refusal leaves the transaction as it is', () => {
  const { send, commits, count } = setUp()
  const unknown = encodeAppendEvents('nobody', [sampleEvent('progress')]).change
  assert.deepEqual(codes(send([run(1), unknown, run(1), run(2)])), ['done', 'MHV_RUN_UNKNOWN', 'MHV_INTERNAL', 'done'])
  assert.deepEqual([commits(), count('runs'), count('events')], [1, 2, 4])
})

test('a change that fails halfway leaves nothing, and its neighbours are committed', () => {
  const { db, send, count } = setUp()
  db.exec(`CREATE TRIGGER breaks BEFORE INSERT ON events WHEN NEW.data LIKE '%break%'
    BEGIN SELECT RAISE(ABORT, 'broken by the test'); END`)
  const replies = send([run(1)], [run(2, { break: 1 }), run(3)])
  assert.deepEqual(codes(replies), ['done', 'MHV_JOURNAL_UNAVAILABLE', 'done'])
  assert.deepEqual([count('runs'), count('events')], [2, 4])
  assert.equal(db.prepare('SELECT 1 FROM runs WHERE run_id = ?').get(sampleId(2)), undefined)
  assert.equal(db.isTransaction, false)
})

test('a database that is held by somebody refuses all changes at once, each only once', () => {
  const { db, send, count } = setUp()
  db.exec('BEGIN')
  assert.deepEqual(codes(send([run(1), run(2)])), Array(2).fill('MHV_JOURNAL_UNAVAILABLE'))
  db.exec('ROLLBACK')
  assert.deepEqual(codes(send([run(1)])), ['done'])
  assert.equal(count('runs'), 1)
})
