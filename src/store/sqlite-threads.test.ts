import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { create, refused, sampleId, sampleRun } from '../testing/store-samples.ts'
import { openSqliteStore } from './sqlite.ts'
import type { Store } from './store.ts'

const UNAVAILABLE = 'MHV_JOURNAL_UNAVAILABLE'

async function withFolder(use: (folder: string, path: string) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-threads-'))
  await use(folder, join(folder, 'journal.db'))
  await rm(folder, { recursive: true })
}

/** A thread that dies of a message with `die-now` in it before it is acted on, or of an error after one with `throw-now`. */
async function mortal(folder: string, module: string): Promise<URL> {
  const file = join(folder, `${module}.mjs`)
  const real = new URL(`./${module}.ts`, import.meta.url).href
  await writeFile(
    file,
    `import { parentPort } from 'node:worker_threads'
    parentPort.on('message', (message) => {
      const text = JSON.stringify(message)
      if (text.includes('die-now')) process.exit(3)
      if (text.includes('throw-now')) setImmediate(() => { throw new Error('the thread broke') })
    })
    await import(${JSON.stringify(real)})`,
  )
  return pathToFileURL(file)
}

test('when the writer dies, what it has not answered is refused, and everything later', () =>
  withFolder(async (folder, path) => {
    const store = await openSqliteStore(
      { path, writerLimits: { maxChanges: 3 } },
      { writerEntry: await mortal(folder, 'sqlite-writer') },
    )
    await create(store, sampleRun(1))
    const calls = [
      store.createRun(sampleRun(2)),
      store.stateSet('w', 'die-now', 1),
      store.createRun(sampleRun(3)),
      store.createRun(sampleRun(4)),
      store.createRun(sampleRun(5)),
    ]
    for (const call of calls) await refused(call, UNAVAILABLE)
    const later = [store.createRun(sampleRun(6)), store.stateSet('w', 'a', 1), store.getRun(sampleId(1)), store.check()]
    for (const call of later) await refused(call, UNAVAILABLE)
    await store.close()
    const again = await openSqliteStore({ path })
    assert.equal((await again.facts()).runs, 1)
    await again.close()
  }))

test('an error that nobody catches in the writer is named in the refusals', () =>
  withFolder(async (folder, path) => {
    const store = await openSqliteStore({ path }, { writerEntry: await mortal(folder, 'sqlite-writer') })
    await store.stateSet('w', 'throw-now', 1)
    const refusedLater = async (): Promise<Error> => {
      for (;;) {
        const error = await store.stateSet('w', 'a', 1).then(
          () => undefined,
          (thrown) => thrown,
        )
        if (error !== undefined) return error
      }
    }
    const { message, code } = (await refusedLater()) as Error & { code?: string }
    assert.deepEqual([code, /the thread broke/.test(message)], [UNAVAILABLE, true], message)
    await store.close()
  }))

test('when the reader dies, what was asked is refused, and the next question starts another', () =>
  withFolder(async (folder, path) => {
    const store = await openSqliteStore({ path }, { readerEntry: await mortal(folder, 'sqlite-reader') })
    await create(store, sampleRun(1))
    const questions = [store.stateGet('w', 'die-now'), store.getRun(sampleId(1))]
    for (const question of questions) await refused(question, UNAVAILABLE)
    assert.equal((await store.getRun(sampleId(1)))?.run_id, sampleId(1))
    await create(store, sampleRun(2))
    await store.close()
  }))

test('a thread that cannot be started at all says so', () =>
  withFolder(async (folder, path) => {
    const writerEntry = pathToFileURL(join(folder, 'nowhere.mjs'))
    await assert.rejects(openSqliteStore({ path }, { writerEntry }), { code: UNAVAILABLE, message: /nowhere\.mjs/ })
  }))

test('a call that is under way when the store is closed is answered, whatever steps it has', () =>
  withFolder(async (_folder, path) => {
    const store = await openSqliteStore({ path })
    const expiring = Array.from({ length: 700 }, (_, n) =>
      store.createRun(sampleRun(n, { idempotency: { key: `k${n}`, digest: 'd', expires_at: 0 } })),
    )
    await Promise.all(expiring)
    const calls: Promise<unknown>[] = [store.expireKeys(1), store.check(), store.facts(), store.getRun(sampleId(1))]
    const closed = store.close()
    // Done, or refused: but none of them is forgotten.
    for (const call of await Promise.allSettled(calls)) {
      assert.ok(call.status === 'fulfilled' || call.reason.code === UNAVAILABLE)
    }
    await closed
  }))

/** Runs a program that has `openSqliteStore`, `sampleRun` and `path`; what it prints, and how it ended. */
async function runProgram(path: string, body: string): Promise<{ code: number | null; out: string }> {
  const store = new URL('./sqlite.ts', import.meta.url).href
  const samples = new URL('../testing/store-samples.ts', import.meta.url).href
  const program = `import { openSqliteStore } from ${JSON.stringify(store)}
    import { sampleRun } from ${JSON.stringify(samples)}
    const path = ${JSON.stringify(path)}
    ${body}`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let out = ''
  child.stdout.on('data', (data) => {
    out += data
  })
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, out: out.trim() }
}

test('an open store keeps a process alive while something is asked of it, and not a moment longer', () =>
  withFolder(async (_folder, path) => {
    const idle = "await openSqliteStore({ path }); console.log('open')"
    assert.deepEqual(await runProgram(path, idle), { code: 0, out: 'open' })
    const asked = `const store = await openSqliteStore({ path })
      await store.createRun(sampleRun(1))
      console.log((await store.facts()).runs)`
    // If it were not kept, Node would end it with 13; if it were kept for ever, this test would not end.
    assert.deepEqual(await runProgram(path, asked), { code: 0, out: '1' })
    assert.deepEqual(
      await runProgram(path, `${asked.replace('(1)', '(2)')}; await store.close(); console.log('closed')`),
      {
        code: 0,
        out: '2\nclosed',
      },
    )
  }))

test('many times more calls than may be under way at once are all done', () =>
  withFolder(async (_folder, path) => {
    const store: Store = await openSqliteStore({ path, writerLimits: { maxChanges: 5, maxBytes: 4_000 } })
    const calls = Array.from({ length: 200 }, (_, n) =>
      store.createRun(sampleRun(n, {}, { input: 'x'.repeat(n * 50) })),
    )
    await Promise.all(calls)
    assert.equal((await store.facts()).runs, 200)
    await store.close()
  }))
