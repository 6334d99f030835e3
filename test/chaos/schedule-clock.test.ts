import assert from 'node:assert/strict'
import { readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { stringify } from 'yaml'
import { faketimeEnv, noFaketime, removeFaketimeRest } from '../helpers/faketime.ts'
import { answerOf, openTcp } from '../helpers/http-server.ts'
import { startUpWith } from '../helpers/http-up.ts'
import { probeFolder } from '../helpers/probe-composition.ts'

const HOUR_SECONDS = 3_600

const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

/** A program that is up, with a wall clock of its own and a schedule that occurs at `first` and every hour after it. */
async function startWithClock(first: number) {
  const folder = await probeFolder()
  cleanups.push(() => rm(folder, { recursive: true, force: true }))
  const common = { operation: 'probe.touch', target: 'one', start: new Date(first).toISOString() }
  const hourly = { ...common, every: HOUR_SECONDS, missed: 'run_all' }
  const schedules = { hourly, other: { ...common, every: 86_400 } }
  await writeFile(join(folder, 'settings', 'schedules.yaml'), stringify({ version: 1, schedules }))
  const file = join(folder, 'faketime')
  /** Sets the wall clock, at one stroke: a file that is empty for a moment would set it back to the machine's. */
  async function set(at: number): Promise<void> {
    await writeFile(`${file}.new`, `+${((at - Date.now()) / 1000).toFixed(3)}\n`)
    await rename(`${file}.new`, file)
  }
  await writeFile(file, '+0\n')
  const up = await startUpWith({ env: { ...faketimeEnv(file), FAKETIME_NO_CACHE: '1' } }, folder)
  cleanups.push(async () => {
    up.child.kill('SIGKILL')
    await up.ended()
    removeFaketimeRest(up.child.pid ?? 0)
  })
  const token = (await readFile(join(folder, 'http.token'), 'utf8')).trim()
  const headers = { authorization: `Bearer ${token}` }
  const port = Number(new URL(up.url).port)
  const ask = async (path: string, body?: unknown) =>
    answerOf(await openTcp(port, { method: body === undefined ? 'GET' : 'POST', path, headers, body }))
  return {
    set,
    /** A change of any schedule has the clock looked at at once; by itself that takes up to half a minute. */
    look: () => ask('/v1/schedules/other/pause', {}),
    async occurrences(): Promise<readonly string[]> {
      const { json } = await ask('/v1/runs?principal=schedule:hourly')
      return json.runs.map(({ run_id }: { readonly run_id: string }) => run_id)
    },
  }
}

async function eventually(count: number, occurrences: () => Promise<readonly string[]>): Promise<void> {
  const until = performance.now() + 8_000
  while ((await occurrences()).length < count && performance.now() < until) await delay(100)
  assert.equal((await occurrences()).length, count)
}

test('RES-12: a wall clock that is set forward and back fires each occurrence once', { skip: noFaketime }, async () => {
  const first = Math.ceil(Date.now() / 1000) * 1000 + (HOUR_SECONDS / 2) * 1000
  const { set, look, occurrences } = await startWithClock(first)
  await set(first - 1_500)
  await look()
  assert.equal((await occurrences()).length, 0)
  await eventually(1, occurrences)
  // Forward over the next one and the one after it.
  await set(first + 2 * HOUR_SECONDS * 1000 + 1_000)
  await look()
  await eventually(3, occurrences)
  // Back before the first, and through its time again.
  await set(first - 1_000)
  await look()
  await delay(2_500)
  assert.equal((await occurrences()).length, 3)
})
