import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm, rmdir, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { NewRun, Store } from '../../src/store/store.ts'
import { create, refused, sampleEvent, sampleId, sampleRun } from '../../src/testing/store-samples.ts'

const SIZE_MB = 8
const MB = 1024 * 1024

const skip = process.platform === 'linux' && process.getuid?.() === 0 ? false : 'needs root on Linux, to mount a tmpfs'

/** A disk of 8 MB, gone after the test whatever becomes of it. */
async function withDisk(context: TestContext, use: (folder: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-full-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE_MB}m`, 'tmpfs', folder])
  } catch (error) {
    await rmdir(folder)
    context.skip(`no tmpfs can be mounted here: ${String(error)}`)
    return
  }
  try {
    await use(folder)
  } finally {
    execFileSync('umount', [folder])
    assert.ok(!(await readFile('/proc/mounts', 'utf8')).includes(folder), `${folder} is still mounted`)
    await rmdir(folder)
  }
}

/** Fills the disk but for so many bytes; returns the file to remove. */
async function fill(folder: string, leave: number): Promise<string> {
  const { bavail, bsize } = await statfs(folder)
  const file = join(folder, 'filler')
  await writeFile(file, new Uint8Array(bavail * bsize - leave))
  return file
}

function bigRun(n: number, bytes: number): NewRun {
  return sampleRun(n, {}, { input: { script: 'x'.repeat(bytes) } })
}

/** Writes until the disk is full, from several callers at once; the numbers of the runs that were acknowledged. */
async function writeUntilFull(store: Store, first: number): Promise<number[]> {
  const written: number[] = []
  let n = first
  let full = false
  const writer = async () => {
    while (!full) {
      const mine = n
      n += 1
      try {
        await store.createRun(bigRun(mine, 20_000))
        written.push(mine)
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'MHV_JOURNAL_FULL')
        full = true
      }
    }
  }
  await Promise.all(Array.from({ length: 8 }, writer))
  return written
}

async function assertThere(store: Store, written: readonly number[]): Promise<void> {
  for (const n of written) assert.equal((await store.getRun(sampleId(n)))?.run_id, sampleId(n))
}

test('a full disk refuses what has no room, loses nothing, and works again when there is some', { skip }, (context) =>
  withDisk(context, async (folder) => {
    const path = join(folder, 'journal.db')
    const store = await openSqliteStore({ path })
    try {
      await create(store, sampleRun(0))
      const filler = await fill(folder, MB)
      const written = await writeUntilFull(store, 1)
      assert.ok(written.length > 0)
      await refused(store.createRun(bigRun(500_000, 2 * MB)), 'MHV_JOURNAL_FULL')
      // Reading goes on, and nobody says that there is what there is not.
      await assertThere(store, [0, ...written])
      assert.equal(await store.getRun(sampleId(500_000)), null)

      await rm(filler)
      await store.createRun(bigRun(500_000, MB))
      await store.appendEvents(sampleId(0), [sampleEvent('progress')])
      await store.check()
      const runs = (await store.facts()).runs
      await store.close()
      const again = await openSqliteStore({ path })
      try {
        await assertThere(again, [0, 500_000, ...written])
        assert.equal((await again.facts()).runs, runs)
        assert.equal((await again.getEvents(sampleId(0), 0, 10)).length, 2)
      } finally {
        await again.close()
      }
    } finally {
      await store.close()
    }
  }),
)

test('a change without room fails alone; its neighbours in the same commit do not', { skip }, (context) =>
  withDisk(context, async (folder) => {
    const store = await openSqliteStore({ path: join(folder, 'journal.db') })
    try {
      await create(store, sampleRun(0))
      await fill(folder, 2 * MB)
      const calls = [1, 2, 3, 4, 5].map((n) => store.createRun(n === 3 ? bigRun(n, 4 * MB) : sampleRun(n)))
      const codes = (await Promise.allSettled(calls)).map((one) =>
        one.status === 'rejected' ? one.reason.code : 'done',
      )
      assert.deepEqual(codes, ['done', 'done', 'MHV_JOURNAL_FULL', 'done', 'done'])
      assert.equal((await store.facts()).runs, 5)
    } finally {
      await store.close()
    }
  }),
)

test('before a change is refused, the log is moved into the file, which may have room', { skip }, (context) =>
  withDisk(context, async (folder) => {
    const path = join(folder, 'journal.db')
    const first = await openSqliteStore({ path })
    await first.stateSet('w', 'big', 'x'.repeat(3 * MB))
    await first.close()
    const store = await openSqliteStore({ path })
    try {
      // The file has three free megabytes within it now, and the log can have one.
      await store.stateDelete('w', 'big')
      await fill(folder, MB)
      const values = Array.from({ length: 8 }, (_, index) => String(index).repeat(0.3 * MB))
      for (const [index, value] of values.entries()) await store.stateSet('w', `key${index}`, value)
      assert.deepEqual(
        (await store.stateList('w', 'key')).map(({ value }) => value),
        values,
      )
    } finally {
      await store.close()
    }
  }),
)

test('a journal cannot be begun on a full disk, but one that is there can be read', { skip }, (context) =>
  withDisk(context, async (folder) => {
    const path = join(folder, 'journal.db')
    const store = await openSqliteStore({ path })
    await create(store, sampleRun(0))
    await store.close()
    await fill(folder, 0)
    await refused(openSqliteStore({ path: join(folder, 'other.db') }), 'MHV_JOURNAL_FULL')
    const reader = await openSqliteStore({ path, readOnly: true })
    try {
      assert.equal((await reader.getRun(sampleId(0)))?.run_id, sampleId(0))
    } finally {
      await reader.close()
    }
  }),
)

test('a journal on a read-only file system can be read', { skip }, (context) =>
  withDisk(context, async (folder) => {
    const path = join(folder, 'journal.db')
    const store = await openSqliteStore({ path })
    await create(store, sampleRun(0))
    await store.close()
    execFileSync('mount', ['-o', 'remount,ro', folder])
    const reader = await openSqliteStore({ path, readOnly: true })
    try {
      assert.equal((await reader.getRun(sampleId(0)))?.run_id, sampleId(0))
      await refused(openSqliteStore({ path }), 'MHV_INSTANCE_INVALID')
    } finally {
      await reader.close()
    }
  }),
)
