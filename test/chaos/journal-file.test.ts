import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, open, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { JOURNAL_FORMAT } from '../../src/store/store.ts'
import { create, refused, sampleId, sampleRun } from '../../src/testing/store-samples.ts'

const RUNS = 200

async function withFolder(use: (folder: string, path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-file-'))
  await use(folder, join(folder, 'journal.db'))
  await rm(folder, { recursive: true })
}

/** A journal with some hundred kilobytes in it, closed. */
async function writeJournal(path: string): Promise<void> {
  const store = await openSqliteStore({ path })
  const runs = Array.from({ length: RUNS }, (_, n) => sampleRun(n, {}, { input: { text: 'x'.repeat(1_000) } }))
  await Promise.all(runs.map((run) => create(store, run)))
  await store.close()
}

/** Neither a store nor a reader opens it, and neither changes a byte of it. */
async function refusedBothWays(path: string, code: string, message = /./): Promise<void> {
  const before = await readFile(path)
  for (const readOnly of [false, true]) {
    await assert.rejects(openSqliteStore({ path, readOnly }), { code, message }, `readOnly: ${readOnly}`)
  }
  assert.deepEqual(await readFile(path), before)
}

test('a journal of a newer version is refused, naming both formats, and left as it is', () =>
  withFolder(async (_folder, path) => {
    await writeJournal(path)
    const db = new DatabaseSync(path)
    db.exec('PRAGMA user_version = 99')
    db.close()
    await refusedBothWays(path, 'MHV_JOURNAL_NEWER', new RegExp(`format 99.*up to ${JOURNAL_FORMAT}$`))
  }))

test("another program's database is refused and left as it is", () =>
  withFolder(async (_folder, path) => {
    const db = new DatabaseSync(path)
    db.exec('CREATE TABLE bookmarks (url TEXT); PRAGMA user_version = 1')
    db.close()
    await refusedBothWays(path, 'MHV_JOURNAL_CORRUPT', /not a journal of Mahavishnu/)
  }))

test('a file that is no database is refused and left as it is', () =>
  withFolder(async (folder) => {
    const files = { random: randomBytes(20_000), text: Buffer.from('runs:\n  - a\n'), zeros: Buffer.alloc(5_000) }
    for (const [name, bytes] of Object.entries(files)) {
      await mkdir(join(folder, name))
      const path = join(folder, name, 'journal.db')
      await writeFile(path, bytes)
      await refusedBothWays(path, 'MHV_JOURNAL_CORRUPT')
    }
  }))

test('a journal that was cut off is refused', () =>
  withFolder(async (_folder, path) => {
    await writeJournal(path)
    const whole = await readFile(path)
    for (const size of [whole.length - 4096, whole.length / 2, 4096 + 100, 4096, 1_000, 50]) {
      await writeFile(path, whole)
      await truncate(path, size)
      for (const readOnly of [true, false]) {
        await assert.rejects(openSqliteStore({ path, readOnly }), { code: 'MHV_JOURNAL_CORRUPT' }, `${size} bytes`)
      }
    }
  }))

test('what lies on a damaged page cannot be read, and says so; the rest can', () =>
  withFolder(async (_folder, path) => {
    await writeJournal(path)
    const { size } = await stat(path)
    const file = await open(path, 'r+')
    const damaged = Math.floor(size / 8)
    await file.write(randomBytes(damaged), 0, damaged, size - damaged)
    await file.close()
    const store = await openSqliteStore({ path, readOnly: true })
    try {
      const reads = await Promise.allSettled(Array.from({ length: RUNS }, (_, n) => store.getRun(sampleId(n))))
      const codes = reads.map((read) => (read.status === 'rejected' ? read.reason.code : read.value?.run_id))
      assert.ok(codes.includes('MHV_JOURNAL_CORRUPT'))
      assert.ok(codes.some((code) => code !== 'MHV_JOURNAL_CORRUPT'))
      for (const [n, code] of codes.entries()) assert.ok(code === 'MHV_JOURNAL_CORRUPT' || code === sampleId(n), code)
    } finally {
      await store.close()
    }
  }))

test('a path that leads nowhere is refused with the reason', () =>
  withFolder(async (folder) => {
    await mkdir(join(folder, 'a-folder'))
    await writeFile(join(folder, 'a-file'), 'x')
    for (const path of ['nowhere/journal.db', 'a-folder', 'a-file/journal.db']) {
      for (const readOnly of [false, true]) {
        await refused(openSqliteStore({ path: join(folder, path), readOnly }), 'MHV_INSTANCE_INVALID')
      }
    }
  }))
