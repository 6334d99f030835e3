import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { refused, sampleId, sampleRun } from '../testing/store-samples.ts'
import { MIGRATIONS } from './migrations/index.ts'
import { readFormat } from './schema.ts'
import { openSqliteStore } from './sqlite.ts'
import { JOURNAL_FORMAT } from './store.ts'

const APPLICATION_ID = 0x6d68764a

async function withPath(use: (path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-migrate-'))
  await use(join(folder, 'journal.db'))
  await rm(folder, { recursive: true })
}

/** A journal as the program of that format has left it: one run under a key, with an event, and one unfinished. */
function makeFormat1(path: string): void {
  const db = new DatabaseSync(path)
  db.exec(`${MIGRATIONS[0]?.sql}; PRAGMA application_id = ${APPLICATION_ID}; PRAGMA user_version = 1`)
  const columns = `run_id, worker, operation, target, worker_id, principal, surface, effect, priority, input,
    accepted_at, deadline, status, started_at, effect_certainty, attempts, finished_at`
  const insert =
    db.prepare(`INSERT INTO runs (${columns}) VALUES (?, 'ssh', 'ssh.execute', 'web-1', 'ssh-a', 'agent:ops',
    'mcp', 'write', 'normal', '{"command":"uptime"}', 5, 60005, ?, 6, ?, ?, ?)`)
  insert.run(sampleId(1), 'completed', 'applied', 1, 7)
  insert.run(sampleId(2), 'running', null, null, null)
  db.exec(`INSERT INTO events VALUES (1, 1, 'accepted', 5, '{"rule":"r"}')`)
  db.exec(`INSERT INTO idempotency_keys VALUES ('agent:ops', 'ssh.execute', 'web-1', 'k', 'd1', 9999999999999, 1)`)
  db.exec(`INSERT INTO worker_state VALUES ('ssh', 'shell', '"sh"')`)
  db.close()
}

test('every migration raises the format by one, up to that of the program', () => {
  assert.deepEqual(
    MIGRATIONS.map(({ format }) => format),
    Array.from({ length: JOURNAL_FORMAT }, (_, index) => index + 1),
  )
})

test('a journal of format 1 is brought up to date with all that is in it', () =>
  withPath(async (path) => {
    makeFormat1(path)
    await assert.rejects(openSqliteStore({ path, readOnly: true }), {
      code: 'MHV_INSTANCE_INVALID',
      message: new RegExp(`format 1; reading needs ${JOURNAL_FORMAT}`),
    })
    const store = await openSqliteStore({ path })
    const done = await store.getRun(sampleId(1))
    assert.deepEqual(
      [done?.status, done?.end?.finished_at, done?.input, done?.fence, done?.replay_of, done?.dead_letter],
      ['completed', 7, { command: 'uptime' }, 0, null, null],
    )
    assert.deepEqual(
      (await store.unfinishedRuns()).map(({ run_id, fence }) => [run_id, fence]),
      [[sampleId(2), 0]],
    )
    assert.equal((await store.getEvents(sampleId(1), 0, 9)).length, 1)
    assert.equal(await store.stateGet('ssh', 'shell'), 'sh')
    const idempotency = { key: 'k', digest: 'd1', expires_at: 9_999_999_999_999 }
    assert.equal((await store.createRun(sampleRun(3, { idempotency }))).run.run_id, sampleId(1))
    assert.equal((await store.facts()).format, JOURNAL_FORMAT)
    await store.close()
  }))

test('a migration that fails leaves the journal in its old format', () =>
  withPath(async (path) => {
    makeFormat1(path)
    const db = new DatabaseSync(path)
    db.exec('CREATE TABLE outbox (id TEXT)')
    await refused(openSqliteStore({ path }), 'MHV_JOURNAL_UNAVAILABLE')
    assert.equal(readFormat(db, path), 1)
    assert.equal(db.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE name = 'dead_letters'").get()?.n, 0)
    db.close()
  }))

test('a program that knows less than the format names it and touches nothing', () =>
  withPath(async (path) => {
    await (await openSqliteStore({ path })).close()
    const db = new DatabaseSync(path)
    db.exec(`PRAGMA user_version = ${JOURNAL_FORMAT + 1}`)
    for (const readOnly of [false, true]) {
      await assert.rejects(openSqliteStore({ path, readOnly }), {
        code: 'MHV_JOURNAL_NEWER',
        message: new RegExp(`has format ${JOURNAL_FORMAT + 1}; .* knows formats up to ${JOURNAL_FORMAT}`),
      })
    }
    assert.equal(db.prepare('SELECT fence FROM instance').get()?.fence, 1)
    db.close()
  }))
