import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { createInstances } from '../../src/app.ts'
import { isFinal, type WorkerResult } from '../../src/core/result.ts'
import { probeComposition, probeFolder } from '../helpers/probe-composition.ts'

const CHILD = join(import.meta.dirname, '../fixtures/busy-child.ts')
const ROUNDS = 200

/** Runs the child and kills it after `ms`; what it had been given by then. */
async function killAfter(folder: string, ms: number): Promise<string[]> {
  const child = spawn(process.execPath, [CHILD, folder], { stdio: ['ignore', 'pipe', 'inherit'] })
  const out: Buffer[] = []
  child.stdout.on('data', (piece: Buffer) => out.push(piece))
  child.stdout.once('data', () => setTimeout(() => child.kill('SIGKILL'), ms))
  await new Promise((resolve) => child.on('close', resolve))
  // The last line may have been cut off in the middle: then nobody was given it.
  return Buffer.concat(out).toString().split('\n').slice(0, -1)
}

test(`CORE-03: ${ROUNDS} kills at random moments of a mixed load lose nothing`, async () => {
  const folder = await probeFolder()
  const given = new Set<string>()
  for (let round = 0; round < ROUNDS; round++) {
    for (const id of await killAfter(folder, Math.random() * 150)) given.add(id)
  }
  const instance = await createInstances(probeComposition()).open({
    folder,
    doing: 'check',
    set: { 'log.level': 'error' },
  })
  const { principal } = instance
  for (const run_id of given) {
    const { run } = await instance.control({ name: 'run_get', input: { run_id }, principal })
    assert.ok(isFinal((run as WorkerResult).status), run_id)
  }
  for (const run_id of new Set((await readFile(join(folder, 'ledger'), 'utf8')).split('\n').filter(Boolean))) {
    const { run } = await instance.control({ name: 'run_get', input: { run_id }, principal })
    assert.notEqual((run as WorkerResult).error_code, 'MHV_RUN_NOT_STARTED', `${run_id} acted`)
  }
  await instance.close()
  console.log(`${given.size} handles over ${ROUNDS} kills`)
  await rm(folder, { recursive: true, force: true })
})
