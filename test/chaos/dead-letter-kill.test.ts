import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import type { Store } from '../../src/store/store.ts'
import { EFFECTS_FILE, MENDED_FILE, openDeadLetterInstance } from '../fixtures/dead-letter-parts.ts'
import { probeFolder } from '../helpers/probe-composition.ts'

const CHILD = join(import.meta.dirname, '../fixtures/dead-letter-child.ts')
const STEPS = [
  ...['claim', 'create', 'end', 'mark'].flatMap((step) => ['before', 'during', 'after'].map((when) => [step, when])),
  ['effect', 'before'],
  ['effect', 'after'],
] as [step: string, when: string][]

interface Letter {
  readonly letter_id: string
  readonly state: string
  readonly replays: number
  readonly effect_certainty: string
}

/** A folder with one dead letter, whose cause is mended by now. */
async function folderWithLetter(): Promise<{ folder: string; letter_id: string }> {
  const folder = await probeFolder()
  const instance = await openDeadLetterInstance(folder)
  const { principal } = instance
  const envelope = { target: 'one' }
  const call = { operation: 'probe.deploy', input: { version: '7' }, envelope, principal, surface: 'embedded' }
  assert.equal((await instance.invoke(call)).error_code, 'MHV_EXEC_NOT_STARTED')
  const { letters } = await instance.control({ name: 'dlq_list', input: {}, principal })
  const [letter] = letters as Letter[]
  await instance.close()
  await writeFile(join(folder, MENDED_FILE), '')
  assert.ok(letter)
  return { folder, letter_id: letter.letter_id }
}

async function killReplay(folder: string, letter_id: string, step: string, when: string): Promise<void> {
  const child = spawn(process.execPath, [CHILD, folder, letter_id, step, when], { stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const signal = await new Promise<string | null>((resolve) => child.on('close', (_code, by) => resolve(by)))
  assert.equal(signal, 'SIGKILL', stderr)
}

async function effects(folder: string): Promise<string[]> {
  const text = await readFile(join(folder, EFFECTS_FILE), 'utf8').catch(() => '')
  return text.split('\n').filter((line) => line !== '')
}

/** Starts again, looks, and has it replayed again without any acknowledgement. */
async function replayAgain(folder: string, letter_id: string, store?: (store: Store) => Store) {
  const instance = await openDeadLetterInstance(folder, store === undefined ? {} : { store })
  try {
    const { principal } = instance
    const ask = (name: string) => instance.control({ name, input: { letter_id }, principal })
    const found = (await ask('dlq_show')).letter as Letter
    const before = await effects(folder)
    const refused = await ask('dlq_replay').then(
      () => null,
      (error: { code: string }) => error.code,
    )
    const last = (await ask('dlq_show')).letter as Letter
    return { found, before, refused, last, after: await effects(folder) }
  } finally {
    await instance.close()
  }
}

function check({ found, before, refused, last, after }: Awaited<ReturnType<typeof replayAgain>>): void {
  assert.ok(after.length <= 1, `the effect was had ${after.length} times`)
  assert.notEqual(found.state, 'replaying', 'the claim of a dead process was left')
  if (found.state === 'replayed') {
    assert.deepEqual([before.length, refused, after.length], [1, 'MHV_DLQ_STATE', 1])
  } else if (found.effect_certainty === 'none') {
    // Nothing was done, and that is known: it is done now, once.
    assert.deepEqual([found.replays, before.length, refused, after.length, last.state], [0, 0, null, 1, 'replayed'])
  } else {
    // It may have been done: never again without somebody who has looked.
    assert.deepEqual([found.state, found.effect_certainty, refused], ['open', 'unknown', 'MHV_DLQ_ACKNOWLEDGE'])
    assert.equal(after.length, before.length)
  }
}

suite('RES-07: kill -9 at every step of a replay', { concurrency: availableParallelism() }, () => {
  for (const [step, when] of STEPS) {
    test(`killed ${when} ${step}: the letter is there, and its effect is had at most once`, async () => {
      const { folder, letter_id } = await folderWithLetter()
      await killReplay(folder, letter_id, step, when)
      check(await replayAgain(folder, letter_id))
      // Reached only when everything held: what a failure left stays for whoever looks into it.
      await rm(folder, { recursive: true, force: true })
    })
  }

  test('killed again and again at the same step: still at most once', async () => {
    const { folder, letter_id } = await folderWithLetter()
    for (let time = 0; time < 3; time++) await killReplay(folder, letter_id, 'create', 'before')
    await killReplay(folder, letter_id, 'end', 'after')
    check(await replayAgain(folder, letter_id))
    await rm(folder, { recursive: true, force: true })
  })

  test('negative controls: a claim that does not lead to its run, and a key that does not, are found out', async () => {
    const { folder, letter_id } = await folderWithLetter()
    await killReplay(folder, letter_id, 'effect', 'after')
    const forgetsRuns = (store: Store): Store => ({
      ...store,
      async getRun(run_id) {
        const run = await store.getRun(run_id)
        return run !== null && run.replay_of !== null ? null : run
      },
    })
    const forgetsKeysToo = (store: Store): Store => ({
      ...forgetsRuns(store),
      createRun: ({ idempotency: _key, ...run }) => store.createRun(run),
    })
    const held = await replayAgain(folder, letter_id, forgetsRuns)
    // The key of the replay still holds it back, although the letter is wrong.
    assert.equal(held.after.length, 1)
    assert.throws(() => check(held), /AssertionError/)
    await rm(folder, { recursive: true, force: true })

    const other = await folderWithLetter()
    await killReplay(other.folder, other.letter_id, 'effect', 'after')
    const again = await replayAgain(other.folder, other.letter_id, forgetsKeysToo)
    assert.throws(() => check(again), /the effect was had 2 times/)
    await rm(other.folder, { recursive: true, force: true })
  })
})
