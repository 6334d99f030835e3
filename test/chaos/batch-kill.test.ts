import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import type { OpenInstance } from '../../src/runtime/instance.ts'
import type { Store } from '../../src/store/store.ts'
import { BATCH, batchFolder, EFFECTS_FILE, openBatchInstance, TARGETS } from '../fixtures/batch-parts.ts'

const CHILD = join(import.meta.dirname, '../fixtures/batch-child.ts')
const STEPS = [
  ...['batch', 'create', 'start', 'end', 'progress'].flatMap((step) =>
    ['before', 'during', 'after'].map((when) => [step, when, step === 'batch' || step === 'progress' ? 1 : 3] as const),
  ),
  ['create', 'after', 8],
  ['effect', 'before', 4],
  ['effect', 'after', 4],
  ['end', 'after', 12],
] as readonly (readonly [step: string, when: string, nth: number])[]

async function killBatch(folder: string, step: string, when: string, nth: number): Promise<void> {
  const args = [CHILD, folder, step, when, String(nth)]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const signal = await new Promise<string | null>((resolve) => child.on('close', (_code, by) => resolve(by)))
  assert.equal(signal, 'SIGKILL', stderr)
}

async function effectsOf(folder: string): Promise<readonly string[]> {
  const text = await readFile(join(folder, EFFECTS_FILE), 'utf8').catch(() => '')
  return text.split('\n').filter((line) => line !== '')
}

interface Child {
  readonly target: string
  readonly status: string
  readonly effect_certainty: string
}

interface Shown {
  readonly batch: { readonly batch_id: string; readonly state: string; readonly done: number; readonly failed: number }
}

function ask(instance: OpenInstance, name: string, input: Record<string, unknown>) {
  return instance.control({ name, input, principal: instance.principal })
}

/** Starts again as a process that stays, and waits for the end of what was begun. */
async function goOn(folder: string, store?: (store: Store) => Store) {
  const instance = await openBatchInstance(folder, store === undefined ? {} : { store })
  try {
    const { batches } = (await ask(instance, 'batch_list', {})) as { batches: { batch_id: string }[] }
    const [found] = batches
    if (found === undefined) return null
    await ask(instance, 'batch_resume', { batch_id: found.batch_id })
    const { batch } = (await ask(instance, 'batch_get', { batch_id: found.batch_id, seconds: 45 })) as unknown as Shown
    const { runs } = (await ask(instance, 'run_list', { limit: 200 })) as { runs: Child[] }
    return { batch, runs, effects: await effectsOf(folder) }
  } finally {
    await instance.close()
  }
}

function check(found: NonNullable<Awaited<ReturnType<typeof goOn>>>): void {
  const { batch, runs, effects } = found
  assert.equal(new Set(effects).size, effects.length, 'an effect was had twice')
  assert.deepEqual([batch.state, batch.done], ['completed', TARGETS.length])
  assert.deepEqual(runs.map(({ target }) => target).toSorted(), TARGETS, 'one run for each target')
  const completed = runs.filter(({ status }) => status === 'completed').map(({ target }) => target)
  assert.deepEqual(
    completed.filter((target) => !effects.includes(target)),
    [],
    'done, and not there',
  )
  assert.equal(batch.failed, TARGETS.length - completed.length)
  // What acted at that moment is not known: those, and no others, failed.
  assert.ok(batch.failed <= 2, `${batch.failed} failed`)
}

suite('RES-11: kill -9 at every step of a batch', { concurrency: availableParallelism() }, () => {
  for (const [step, when, nth] of STEPS) {
    test(`killed ${when} ${step} ${nth}: it goes on, and no target is run twice`, async () => {
      const folder = await batchFolder()
      await killBatch(folder, step, when, nth)
      const found = await goOn(folder)
      if (found === null) {
        assert.equal(step, 'batch', 'the batch is lost')
        assert.deepEqual(await effectsOf(folder), [])
      } else check(found)
      await rm(folder, { recursive: true, force: true })
    })
  }

  test('negative control: a batch that does not know its runs, nor their keys, is found out', async () => {
    const folder = await batchFolder()
    await killBatch(folder, 'end', 'after', 6)
    const found = await goOn(folder, (store) => ({
      ...store,
      listRuns: async (query) => (query.parent === undefined ? store.listRuns(query) : []),
      createRun: ({ idempotency: _key, ...run }) => store.createRun(run),
    }))
    assert.ok(found)
    assert.throws(() => check(found), /an effect was had twice/)
    await rm(folder, { recursive: true, force: true })
  })

  test('ended as `stop` ends it, in the midst: only what acted may count as failed, and what waited is run once', async () => {
    const folder = await batchFolder()
    let begun = 0
    const halfway = Promise.withResolvers<void>()
    const instance = await openBatchInstance(folder, {
      onEffect: () => {
        begun += 1
        // Two act and two wait for their slot.
        if (begun === 13) halfway.resolve()
      },
    })
    await ask(instance, 'batch_run', { ...BATCH, seconds: 0 })
    await halfway.promise
    await instance.close()
    assert.ok((await effectsOf(folder)).length < TARGETS.length, 'it was over before it was ended')
    const found = await goOn(folder)
    assert.ok(found)
    check(found)
    const untouched = found.runs.filter(({ effect_certainty }) => effect_certainty === 'none')
    assert.deepEqual(untouched, [], 'failed without having acted')
    await rm(folder, { recursive: true, force: true })
  })

  test('a process that stays takes it up by itself', async () => {
    const folder = await batchFolder()
    await killBatch(folder, 'effect', 'after', 4)
    const instance = await openBatchInstance(folder)
    instance.begin()
    const { batches } = (await ask(instance, 'batch_list', {})) as { batches: { batch_id: string }[] }
    let shown: Shown
    do {
      shown = (await ask(instance, 'batch_get', { batch_id: batches[0]?.batch_id, seconds: 1 })) as unknown as Shown
    } while (shown.batch.state === 'running')
    await instance.close()
    assert.deepEqual([shown.batch.state, shown.batch.done], ['completed', TARGETS.length])
    assert.deepEqual([...new Set(await effectsOf(folder))].length, (await effectsOf(folder)).length)
    await rm(folder, { recursive: true, force: true })
  })
})

assert.ok(BATCH.parallel > 2, 'some runs wait in the queue')
