import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fillDisk, noSmallDisk, smallDisk } from '../helpers/disk.ts'
import { faketimeEnv, noFaketime, removeFaketimeRest } from '../helpers/faketime.ts'
import { answerOf, openTcp } from '../helpers/http-server.ts'
import { startUpWith, type UpOptions, type UpProcess } from '../helpers/http-up.ts'
import { probeFolder } from '../helpers/probe-composition.ts'
import { until } from '../helpers/processes.ts'

const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup()
})

async function start(options: UpOptions, folder: string, ...args: string[]) {
  const up = await startUpWith(options, folder, ...args)
  cleanups.push(async () => {
    up.child.kill('SIGKILL')
    await up.ended()
    removeFaketimeRest(up.child.pid ?? 0)
  })
  const token = (await readFile(join(folder, 'http.token'), 'utf8')).trim()
  const port = Number(new URL(up.url).port)
  const headers = { authorization: `Bearer ${token}` }
  const ask = async (path: string, body?: unknown) =>
    answerOf(await openTcp(port, { method: body === undefined ? 'GET' : 'POST', path, headers, body }))
  const touch = (more: Record<string, unknown> = {}) =>
    ask('/v1/workers/probe/operations/touch', { target: 'one', ...more })
  const emit = (input: unknown, more: Record<string, unknown> = {}) =>
    ask('/v1/workers/probe/operations/emit', { target: 'one', input, ...more })
  const ready = async () => (await ask('/readyz')).status
  return { up, port, ask, touch, emit, ready }
}

async function newFolder(): Promise<string> {
  const folder = await probeFolder()
  cleanups.push(() => rm(folder, { recursive: true, force: true }))
  return folder
}

const same = ({ child }: UpProcess) => assert.equal(child.exitCode, null, 'it was not restarted, and is still there')

describe('RES-09: hard times end in clear errors, and then it goes on without a restart', () => {
  test('a disk below its floor, and one that is full to the last byte', { skip: noSmallDisk }, async () => {
    await using disk = await smallDisk(8)
    await cp(await newFolder(), disk.folder, { recursive: true })
    const { up, touch, emit, ready } = await start({}, disk.folder, '--set', 'journal.min_free_bytes=2000000')
    try {
      assert.equal((await touch()).status, 200)
      // Below the floor nothing new is taken; what is there may still end.
      const filler = await fillDisk(disk.folder, 1_000_000)
      await delay(1_100)
      const low = await touch()
      assert.deepEqual([low.status, low.json.code], [507, 'MHV_DISK_LOW'])
      assert.equal(typeof low.json.remedy, 'string')
      assert.equal(await ready(), 503)
      await rm(filler)
      await delay(1_100)
      assert.equal((await touch()).status, 200)

      // Full while a run writes its output: the run does not claim more than it knows.
      const pieces = Array.from({ length: 40 }, () => 'x'.repeat(20_000))
      const running = emit({ pieces: ['a'], wait_ms: 1_500 })
      await delay(300)
      const last = await fillDisk(disk.folder, 0)
      const refused = await touch()
      assert.equal(refused.status, 507)
      assert.ok(['MHV_DISK_LOW', 'MHV_JOURNAL_FULL'].includes(refused.json.code), refused.text)
      await delay(1_500)
      await rm(last)
      const ended = await running
      assert.equal(ended.json.status, 'completed', ended.text)
      assert.ok(await until(async () => (await touch()).status === 200))
      assert.ok(await until(async () => (await ready()) === 200))
      assert.equal((await emit({ pieces })).json.status, 'completed')
      same(up)
    } finally {
      up.child.kill('SIGKILL')
      await up.ended()
    }
  })

  test('no descriptor left for new connections', async () => {
    const { up, port, ask, touch, ready } = await start({ openFiles: 64 }, await newFolder())
    assert.equal((await touch()).status, 200)
    const sockets: Socket[] = []
    cleanups.push(async () => {
      for (const socket of sockets) socket.destroy()
    })
    for (let n = 0; n < 80; n++) {
      const socket = connect({ host: '127.0.0.1', port })
      socket.on('error', () => undefined)
      sockets.push(socket)
    }
    await delay(500)
    // Nobody new gets in; whoever asks is not left waiting for ever.
    const late = await Promise.race([
      ask('/v1/runs').then(
        ({ status }) => status,
        () => 'cut',
      ),
      delay(3_000, 'waiting'),
    ])
    assert.notEqual(late, 200)
    for (const socket of sockets.splice(0)) socket.destroy()
    assert.ok(await until(async () => (await touch().catch(() => ({ status: 0 }))).status === 200))
    assert.equal(await ready(), 200)
    same(up)
  })

  test('a clock that jumps by hours, forwards and back', { skip: noFaketime }, async () => {
    const folder = await newFolder()
    const file = join(folder, 'faketime')
    const jump = (seconds: number) => writeFile(file, `${seconds >= 0 ? '+' : ''}${seconds}\n`)
    await jump(0)
    const env = { ...faketimeEnv(file), FAKETIME_NO_CACHE: '1' }
    const { up, ask, touch, emit, ready } = await start({ env }, folder, '--set', 'admission.max_concurrent=2')
    const began = performance.now()
    const running = [emit({ wait_ms: 1_500 }), emit({ wait_ms: 1_500 }), emit({ wait_ms: 100 })]
    await delay(300)
    for (const seconds of [7_200, -7_200, 86_400, 0]) {
      await jump(seconds)
      const called = performance.now()
      const { json } = await touch({ priority: 'critical', timeout: 20 })
      assert.equal(json.status, 'completed', JSON.stringify(json))
      // The jumps are hours: whoever waited for the wall clock would wait much longer than this.
      assert.ok(performance.now() - called < 15_000)
      assert.ok(json.duration_seconds >= 0 && json.metadata.queue_seconds >= 0)
    }
    for (const { json } of await Promise.all(running)) {
      assert.equal(json.status, 'completed', JSON.stringify(json))
      assert.ok(json.duration_seconds >= 0)
    }
    assert.ok(performance.now() - began < 60_000)
    // A deadline is a time that passes, whatever the clock on the wall says: neither at once nor never.
    await jump(-7_200)
    const called = performance.now()
    const late = emit({ wait_ms: 30_000 }, { timeout: 1.5 })
    await delay(300)
    await jump(7_200)
    const { json } = await late
    const took = performance.now() - called
    assert.equal(json.status, 'timeout', JSON.stringify(json))
    assert.ok(took > 1_300 && took < 30_000, `${took} ms`)
    const { json: page } = await ask('/v1/runs?limit=50')
    assert.equal(new Set(page.runs.map((run: { run_id: string }) => run.run_id)).size, page.runs.length)
    assert.equal(await ready(), 200)
    same(up)
  })
})

test('the means of these tests are there: a limit of open files holds in a child', () => {
  const { stdout } = spawnSync('/bin/sh', ['-c', 'ulimit -n 64; ulimit -n'], { encoding: 'utf8' })
  assert.equal(stdout.trim(), '64')
})
