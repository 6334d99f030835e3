import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { DatabaseSync } from 'node:sqlite'
import type { Readable } from 'node:stream'
import { test } from 'node:test'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { keyedRun, sampleId } from '../../src/testing/store-samples.ts'

const CHILD = join(import.meta.dirname, 'journal-child.ts')
const ROUNDS = 4
/** Runs of one round; the next begins beyond them. */
const STRIDE = 1_000_000

type Child = ChildProcessByStdio<null, Readable, null>

function start(path: string, first: number, manner: string): Child {
  return spawn(process.execPath, [CHILD, path, String(first), manner], { stdio: ['ignore', 'pipe', 'inherit'] })
}

/** Numbers from 0 to 1 that only depend on the seed (mulberry32). */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Reads what is acknowledged, and kills the child in the middle of its work once there are so many lines. */
async function killAfter(child: Child, lines: number): Promise<string[]> {
  const said: string[] = []
  const closed = new Promise<string | null>((resolve) => child.once('close', (_code, signal) => resolve(signal)))
  for await (const line of createInterface({ input: child.stdout })) {
    said.push(line)
    if (said.length === lines) child.kill('SIGKILL')
  }
  assert.equal(await closed, 'SIGKILL')
  return said
}

/** Everything that was acknowledged and is not in the journal. */
async function missing(store: Store, said: readonly string[]): Promise<string[]> {
  const lost: string[] = []
  for (const line of said) {
    const [kind, n, value] = line.split(' ')
    const run_id = sampleId(Number(n))
    if (kind === 'run') {
      const events = await store.getEvents(run_id, 0, 10)
      const run = await store.getRun(run_id)
      if (run === null || events.length < Number(value) || (value === '4' && run.status !== 'completed'))
        lost.push(line)
    } else if (kind === 'output') {
      const [chunk] = await store.getOutput(run_id, 0, 1)
      if (chunk?.bytes.length !== 300 + (Number(n) % 5000)) lost.push(line)
    } else {
      const state = (await store.stateGet('chaos', String(n))) as { run: number } | undefined
      if (state === undefined || state.run < Number(value)) lost.push(line)
    }
  }
  return lost
}

/** A run is written with its first events and its key, or not at all. */
async function assertWhole(store: Store, first: number): Promise<void> {
  for (const run of await store.listRuns({ limit: 50 })) {
    const n = Number(run.run_id.slice(10))
    if (n < first) continue
    const events = await store.getEvents(run.run_id, 0, 10)
    assert.ok(events.length >= 2, `${run.run_id} has ${events.length} events`)
    assert.equal((await store.createRun(keyedRun(n + STRIDE / 2, `key-${n}`))).run.run_id, run.run_id)
  }
}

function integrity(path: string): unknown {
  const db = new DatabaseSync(path)
  try {
    return Object.values(db.prepare('PRAGMA integrity_check').get() ?? {})[0]
  } finally {
    db.close()
  }
}

async function round(path: string, first: number, lines: number): Promise<string[]> {
  const said = await killAfter(start(path, first, 'honest'), lines)
  const store = await openSqliteStore({ path })
  try {
    const lost = await missing(store, said)
    await assertWhole(store, first)
    return lost
  } finally {
    await store.close()
  }
}

test('CORE-03: what was acknowledged is in the journal after kill -9, whenever it came', async () => {
  const seed = Date.now() % 2 ** 31
  const next = random(seed)
  const folder = await mkdtemp(join(tmpdir(), 'mhv-kill-'))
  const path = join(folder, 'journal.db')
  for (let index = 0; index < ROUNDS; index += 1) {
    const lines = 1 + Math.floor(next() ** 2 * 2_500)
    const lost = await round(path, index * STRIDE, lines)
    assert.deepEqual(lost, [], `seed ${seed}, round ${index}, killed after ${lines} lines, ${folder}`)
    assert.equal(integrity(path), 'ok')
  }
  await rm(folder, { recursive: true })
})

test('the test above finds what is acknowledged too early', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-kill-'))
  const path = join(folder, 'journal.db')
  const said = await killAfter(start(path, 0, 'hasty'), Number.POSITIVE_INFINITY)
  const store = await openSqliteStore({ path })
  const lost = await missing(store, said)
  await store.close()
  assert.deepEqual(lost, ['run 1 2'])
  await rm(folder, { recursive: true })
})
