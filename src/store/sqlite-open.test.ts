import assert from 'node:assert/strict'
import { mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { create, keyedRun, refused, sampleEvent, sampleId, sampleRun } from '../testing/store-samples.ts'
import { openSqliteStore } from './sqlite.ts'
import { JOURNAL_FORMAT } from './store.ts'

async function withPath(use: (path: string, folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-open-'))
  await use(join(folder, 'journal.db'), folder)
  await rm(folder, { recursive: true })
}

test('every commit is synced to the disk, and the settings that see to it are those that are in force', () =>
  withPath(async (path) => {
    const store = await openSqliteStore({ path, busyTimeoutMs: 1_234 })
    const { bytes, pragmas, ...facts } = await store.facts()
    assert.deepEqual(facts, { kind: 'sqlite', format: JOURNAL_FORMAT, runs: 0 })
    assert.ok(bytes > 4096)
    assert.deepEqual(pragmas, {
      journal_mode: 'wal',
      synchronous: 2,
      foreign_keys: 1,
      wal_autocheckpoint: 1_000,
      journal_size_limit: 16 * 1024 * 1024,
      busy_timeout: 1_234,
    })
    await store.close()
  }))

test('a journal whose commits are not synced shows in the facts, and only tests can have one', () =>
  withPath(async (path) => {
    const store = await openSqliteStore({ path }, { pragmas: { synchronous: 0 } })
    assert.equal((await store.facts()).pragmas.synchronous, 0)
    await store.close()
  }))

test('a setting that SQLite does not take is found out', () =>
  withPath(async (path) => {
    const opening = openSqliteStore({ path }, { pragmas: { synchronous: 7 } })
    await assert.rejects(opening, { code: 'MHV_JOURNAL_UNAVAILABLE', message: /synchronous is 0, not 7/ })
  }))

test('only the owner may read the files', { skip: process.platform === 'win32' }, () =>
  withPath(async (path, folder) => {
    const store = await openSqliteStore({ path })
    await create(store, sampleRun(1))
    const files = await readdir(folder)
    assert.equal(files.length, 3)
    for (const file of files) assert.equal((await stat(join(folder, file))).mode & 0o777, 0o600, file)
    await store.close()
    assert.deepEqual(await readdir(folder), ['journal.db'])
  }),
)

test('a file with nothing in it becomes a journal, but cannot be read as one', () =>
  withPath(async (path) => {
    await writeFile(path, '')
    await refused(openSqliteStore({ path, readOnly: true }), 'MHV_INSTANCE_INVALID')
    const store = await openSqliteStore({ path })
    await create(store, sampleRun(1))
    await store.close()
  }))

test('reading only, a journal that is not there is not made', () =>
  withPath(async (path, folder) => {
    const opening = openSqliteStore({ path, readOnly: true })
    await assert.rejects(opening, { code: 'MHV_INSTANCE_INVALID', message: /there is no journal .*journal\.db/ })
    assert.deepEqual(await readdir(folder), [])
  }))

test('reading only, everything can be read and nothing written', () =>
  withPath(async (path) => {
    const store = await openSqliteStore({ path })
    await create(store, keyedRun(1, 'k'))
    // Beside the store that has it, in the same process; and then alone.
    for (const closed of [false, true]) {
      if (closed) await store.close()
      const reader = await openSqliteStore({ path, readOnly: true })
      assert.equal((await reader.getRun(sampleId(1)))?.run_id, sampleId(1))
      assert.equal((await reader.listRuns({ limit: 10 })).length, 1)
      await reader.check()
      const { runs, pragmas } = await reader.facts()
      assert.deepEqual([runs, pragmas.journal_mode], [1, 'wal'])
      const writes = [
        reader.createRun(keyedRun(1, 'k')),
        reader.changeRun({ run_id: sampleId(1), from: ['running'], to: 'pending', events: [] }),
        reader.appendEvents(sampleId(1), [sampleEvent('progress')]),
        reader.appendOutput(sampleId(1), []),
        reader.stateSet('w', 'k', 1),
        reader.stateDelete('w', 'k'),
        reader.expireKeys(0),
      ]
      for (const write of writes) {
        await assert.rejects(write, { code: 'MHV_JOURNAL_UNAVAILABLE', message: /opened for reading only/ })
      }
      await reader.close()
      await refused(reader.getRun(sampleId(1)), 'MHV_JOURNAL_UNAVAILABLE')
    }
  }))

test('a write waits for another process only so long, and works when that one is done', () =>
  withPath(async (path) => {
    const store = await openSqliteStore({ path, busyTimeoutMs: 50 })
    const other = new DatabaseSync(path)
    other.exec('BEGIN IMMEDIATE')
    await refused(store.createRun(sampleRun(1)), 'MHV_JOURNAL_UNAVAILABLE')
    assert.equal(await store.getRun(sampleId(1)), null)
    other.exec('ROLLBACK')
    await create(store, sampleRun(1))
    other.close()
    await store.close()
  }))

test('an older format that reading finds is not read', () =>
  withPath(async (path) => {
    await (await openSqliteStore({ path })).close()
    const db = new DatabaseSync(path)
    db.exec('PRAGMA user_version = 0')
    db.close()
    await assert.rejects(openSqliteStore({ path, readOnly: true }), {
      code: 'MHV_INSTANCE_INVALID',
      message: /format 0/,
    })
  }))
