import assert from 'node:assert/strict'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { createInstances } from '../../src/app.ts'
import { EXIT } from '../../src/core/error-table.ts'
import { isFinal, type WorkerResult } from '../../src/core/result.ts'
import { answerOf, openTcp } from '../helpers/http-server.ts'
import { startUpWith, type UpProcess } from '../helpers/http-up.ts'
import { probeComposition, probeFolder } from '../helpers/probe-composition.ts'
import { until } from '../helpers/processes.ts'

let folder: string
let ledger: string
let up: UpProcess

beforeEach(async () => {
  folder = await probeFolder()
  ledger = join(folder, 'ledger.txt')
  await writeFile(ledger, '')
})
afterEach(async () => {
  up.child.kill('SIGKILL')
  await up.ended()
  await rm(folder, { recursive: true, force: true })
})

/** What the caller of one call was told: a run, a refusal with its code, or nothing (the connection ended). */
type Told = WorkerResult | string | null

async function callers(count: number, pauseMs: () => number) {
  const token = (await readFile(join(folder, 'http.token'), 'utf8')).trim()
  const port = Number(new URL(up.url).port)
  const headers = { authorization: `Bearer ${token}` }
  const told: Told[] = []
  let going = true

  async function one(who: number): Promise<void> {
    for (let n = 0; going; n++) {
      const body = {
        target: 'one',
        input: { wait_ms: pauseMs() },
        idempotency_key: `${who}-${n}`,
        // Some want the handle at once: their runs go on without anybody who waits.
        ...(n % 3 === 0 ? { wait: 0 } : {}),
      }
      const answer = await openTcp(port, { method: 'POST', path: '/v1/workers/probe/operations/emit', headers, body })
        .then(answerOf)
        .catch(() => null)
      told.push(answer === null ? null : typeof answer.json?.run_id === 'string' ? answer.json : answer.json?.code)
      if (answer === null || answer.status === 503) return
    }
  }
  const done = Promise.all(Array.from({ length: count }, (_, who) => one(who)))
  return {
    told,
    async stop() {
      going = false
      await done
    },
    done,
  }
}

/** Everything that was told holds in the journal, and the ledger has what the journal says. */
async function check(told: readonly Told[], open: 'open' | 'read') {
  const instance = await createInstances(probeComposition())[open]({ folder, doing: 'test' })
  try {
    const acts = (await readFile(ledger, 'utf8')).split('\n').filter((line) => line !== '')
    const counts = new Map<string, number>()
    for (const run_id of acts) counts.set(run_id, (counts.get(run_id) ?? 0) + 1)
    const get = async (run_id: string) =>
      (
        (await instance.control({ name: 'run_get', input: { run_id }, principal: instance.principal })) as {
          run: WorkerResult
        }
      ).run
    const runs = told.filter((each) => each !== null && typeof each === 'object')
    const ended: WorkerResult[] = []
    for (const answer of runs) {
      const run = await get(answer.run_id)
      ended.push(run)
      assert.ok(isFinal(run.status), `${run.run_id} is ${run.status}`)
      if (isFinal(answer.status))
        assert.deepEqual([run.status, run.effect_certainty], [answer.status, answer.effect_certainty])
    }
    for (const [run_id, count] of counts) {
      const run = await get(run_id)
      assert.equal(count, 1, `${run_id} acted ${count} times`)
      assert.notEqual(run.effect_certainty, 'none', `${run_id} acted, and says that it changed nothing`)
    }
    for (const { run_id, status } of runs) if (status === 'completed') assert.equal(counts.get(run_id), 1)
    return { ended, acts: counts.size }
  } finally {
    await instance.close()
  }
}

const BUSY = [
  '--set',
  'admission.max_concurrent=8',
  '--set',
  'http.rate_limit_per_second=10000',
  '--set',
  'http.rate_limit_burst=10000',
]

describe('RES-08: SIGTERM under load loses nothing', () => {
  test('what runs and what waits ends by itself within the drain time; what comes is refused; exit code 0', async () => {
    up = await startUpWith({ env: { PROBE_LEDGER: ledger } }, folder, ...BUSY)
    const load = await callers(24, () => 20 + Math.floor(Math.random() * 200))
    assert.ok(await until(() => load.told.length > 60, 30_000), `${load.told.length} answers`)
    up.child.kill('SIGTERM')
    assert.equal(await up.ended(), 0, up.stderr())
    await load.stop()
    const { ended, acts } = await check(load.told, 'read')
    assert.ok(ended.length > 40 && acts > 40, `${ended.length} runs`)
    const statuses = new Set(ended.map(({ status }) => status))
    assert.ok(!statuses.has('cancelled') && !statuses.has('failed'), [...statuses].join())
    assert.ok(load.told.includes('MHV_SHUTTING_DOWN'))
  })

  test('what does not end within the drain time is cancelled, and says what is known of it', async () => {
    up = await startUpWith({ env: { PROBE_LEDGER: ledger } }, folder, ...BUSY, '--set', 'runs.drain_timeout=0.5')
    const load = await callers(24, () => (Math.random() < 0.5 ? 60_000 : 50))
    await delay(1_000)
    up.child.kill('SIGTERM')
    assert.equal(await up.ended(), 0, up.stderr())
    await load.stop()
    const { ended } = await check(load.told, 'read')
    const cut = ended.filter(({ status }) => status === 'cancelled')
    assert.ok(
      cut.some(({ effect_certainty }) => effect_certainty === 'unknown'),
      'those that acted',
    )
    assert.ok(
      cut.some(({ effect_certainty }) => effect_certainty === 'none'),
      'those that waited',
    )
  })

  test('a second signal leaves at once; the journal is whole, and the next start ends what was cut off', async () => {
    up = await startUpWith({ env: { PROBE_LEDGER: ledger } }, folder, ...BUSY)
    const load = await callers(24, () => 60_000)
    assert.ok(await until(async () => (await readFile(ledger, 'utf8')).split('\n').length > 8))
    up.child.kill('SIGTERM')
    assert.ok(await until(async () => up.stderr().includes('stopping')))
    const began = performance.now()
    up.child.kill('SIGTERM')
    assert.equal(await up.ended(), EXIT.unknown_effect, up.stderr())
    // Not the 25 seconds of draining.
    assert.ok(performance.now() - began < 10_000)
    await load.stop()
    const { acts } = await check(load.told, 'open')
    assert.equal(acts, 8)
  })
})
