import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { endAll, isRunning, until } from '../helpers/processes.ts'

const MAIN = new URL('../fixtures/isolation/main-process.ts', import.meta.url).pathname

suite('RES-10: the process of a worker does not outlive the main process', () => {
  for (const how of ['idle', 'spin', 'stopped']) {
    test(`after kill -9 of the main process: ${how}`, async (t) => {
      const tmp = await mkdtemp(join(tmpdir(), 'mhv-orphans-'))
      t.after(() => rm(tmp, { recursive: true, force: true }))
      const env = { ...process.env, TMPDIR: tmp }
      const main = spawn(process.execPath, [MAIN, how], { stdio: ['ignore', 'pipe', 'inherit'], env })
      t.after(() => endAll([main.pid as number]))
      const [line] = await once(main.stdout, 'data')
      const pids: number[] = JSON.parse(String(line))
      t.after(() => endAll(pids))
      assert.equal(pids.length, 2)
      assert.ok(pids.every(isRunning))
      if (how === 'stopped') process.kill(pids[0] as number, 'SIGSTOP')
      main.kill('SIGKILL')
      assert.ok(await until(() => !pids.some(isRunning), 5_000), `still there: ${pids.filter(isRunning)}`)
    })
  }
})
