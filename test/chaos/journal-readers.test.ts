import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { refused, sampleId, sampleRun } from '../../src/testing/store-samples.ts'

const CHILD = join(import.meta.dirname, 'journal-child.ts')

/** A process that writes; `acknowledged(n)` waits until it has said so many runs more. */
function startWriter(path: string) {
  const child = spawn(process.execPath, [CHILD, path, '0', 'honest'], { stdio: ['ignore', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const closed = new Promise((resolve) => child.once('close', resolve))
  return {
    async acknowledged(count: number): Promise<string[]> {
      const runs: string[] = []
      while (runs.length < count) {
        const [kind, n, events] = String((await lines.next()).value).split(' ')
        if (kind === 'run' && events === '2') runs.push(sampleId(Number(n)))
      }
      return runs
    },
    async kill(): Promise<void> {
      child.kill('SIGKILL')
      await closed
    },
  }
}

async function assertAll(store: Store, runs: readonly string[]): Promise<void> {
  for (const run_id of runs) assert.equal((await store.getRun(run_id))?.run_id, run_id)
}

test('a journal can be read while another process writes it, after that was killed, and when nobody has it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-readers-'))
  const path = join(folder, 'journal.db')
  const writer = startWriter(path)
  const runs = await writer.acknowledged(20)

  const beside = await openSqliteStore({ path, readOnly: true })
  await assertAll(beside, runs)
  // The writer is not held up by the reader, nor does the reader see only what was there when it began.
  runs.push(...(await writer.acknowledged(30)))
  await assertAll(beside, runs)
  await refused(beside.createRun(sampleRun(999_999)), 'MHV_JOURNAL_UNAVAILABLE')
  await writer.kill()
  await assertAll(beside, runs)
  await beside.close()

  assert.ok((await stat(`${path}-wal`)).size > 0)
  const afterwards = await openSqliteStore({ path, readOnly: true })
  await assertAll(afterwards, runs)
  await afterwards.close()

  await (await openSqliteStore({ path })).close()
  await assert.rejects(stat(`${path}-wal`), { code: 'ENOENT' })
  const alone = await openSqliteStore({ path, readOnly: true })
  await assertAll(alone, runs)
  await alone.close()
  await rm(folder, { recursive: true })
})
