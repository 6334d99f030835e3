import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { createInstances } from '../../src/app.ts'
import { anyResultSchema, isFinal, RUN_TRANSITIONS, type WorkerResult } from '../../src/core/result.ts'
import { toResult } from '../../src/runtime/to-result.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import { SCENARIOS, type TransitionName } from '../fixtures/crash-scenarios.ts'
import { probeComposition, probeFolder } from '../helpers/probe-composition.ts'

const CHILD = join(import.meta.dirname, '../fixtures/crash-child.ts')
const WHENS = ['before', 'during', 'after'] as const
const TRANSITIONS = RUN_TRANSITIONS.map((row) => `${row.from}>${row.to}` as TransitionName)

interface Crash {
  /** Runs whose handle was given out. */
  readonly handles: readonly string[]
  /** Runs of effect write that acted, once per attempt, as counted outside of the journal. */
  readonly acted: readonly string[]
  readonly signal: string | null
  readonly stderr: string
}

async function crash(folder: string, transition: TransitionName, when: string): Promise<Crash> {
  const child = spawn(process.execPath, [CHILD, folder, transition, when], { stdio: ['ignore', 'pipe', 'pipe'] })
  const out: Buffer[] = []
  const err: Buffer[] = []
  child.stdout.on('data', (piece: Buffer) => out.push(piece))
  child.stderr.on('data', (piece: Buffer) => err.push(piece))
  const signal = await new Promise<string | null>((resolve) => child.on('close', (_code, by) => resolve(by)))
  const ledger = await readFile(join(folder, 'ledger'), 'utf8').catch(() => '')
  const lines = (text: string) => text.split('\n').filter((line) => line !== '')
  return {
    handles: lines(Buffer.concat(out).toString()),
    acted: lines(ledger),
    signal,
    stderr: Buffer.concat(err).toString(),
  }
}

/** Starts again on the folder that the crash left, and reads everything that is there. */
async function startAgain(folder: string): Promise<ReadonlyMap<string, WorkerResult>> {
  const instance = await createInstances(probeComposition()).open({
    folder,
    doing: 'check',
    set: { 'log.level': 'error' },
  })
  try {
    const principal = instance.principal
    const listed = await instance.control({ name: 'run_list', input: { limit: 200 }, principal })
    const ids = (listed.runs as { run_id: string }[]).map((run) => run.run_id)
    const runs = await Promise.all(
      ids.map(async (run_id) => {
        const { run } = await instance.control({ name: 'run_get', input: { run_id }, principal })
        return anyResultSchema.parse(run)
      }),
    )
    return new Map(runs.map((run) => [run.run_id, run]))
  } finally {
    await instance.close()
  }
}

function check(crashed: Crash, runs: ReadonlyMap<string, WorkerResult>): void {
  for (const run_id of crashed.handles) assert.ok(runs.has(run_id), `run ${run_id} was given out and is lost`)
  for (const run of runs.values()) {
    assert.ok(isFinal(run.status), `run ${run.run_id} is still ${run.status}`)
    if (run.error_code === 'MHV_RUN_INTERRUPTED') {
      assert.equal(run.status, 'failed')
      assert.equal(run.effect_certainty, run.metadata.effect === 'read' ? 'none' : 'unknown')
    }
    if (run.error_code === 'MHV_RUN_NOT_STARTED') {
      assert.equal(run.effect_certainty, 'none')
      // probe.fail counts its act and then says, as it was told to, that nothing was applied.
      const acted = run.operation !== 'probe.fail' && crashed.acted.includes(run.run_id)
      assert.ok(!acted, `run ${run.run_id} acted, and the journal says it never started`)
    }
  }
  for (const run_id of crashed.acted) {
    const run = runs.get(run_id)
    assert.ok(run, `run ${run_id} acted and is not in the journal`)
    assert.notEqual(run.effect_certainty, null)
  }
}

suite('CORE-03: kill -9 at every persisted transition', { concurrency: availableParallelism() }, () => {
  test('there is a scenario for every transition of the state machine', () => {
    assert.deepEqual(Object.keys(SCENARIOS).sort(), [...TRANSITIONS].sort())
  })

  for (const transition of TRANSITIONS) {
    for (const when of WHENS) {
      test(`${transition}, killed ${when} the commit`, async () => {
        const folder = await probeFolder()
        const crashed = await crash(folder, transition, when)
        assert.equal(crashed.signal, 'SIGKILL', crashed.stderr)
        check(crashed, await startAgain(folder))
        // Reached only when everything held: what a failure left stays for whoever looks into it.
        await rm(folder, { recursive: true, force: true })
      })
    }
  }

  test('negative control: a journal that acknowledges what it has not written is found out', async () => {
    const folder = await probeFolder()
    const crashed = await crash(folder, 'null>running', 'lie')
    assert.equal(crashed.handles.length, 1, crashed.stderr)
    const runs = await startAgain(folder)
    assert.throws(() => check(crashed, runs), /is lost/)
    await rm(folder, { recursive: true, force: true })
  })

  test('negative control: without reconcile, runs stay unfinished for ever', async () => {
    const folder = await probeFolder()
    const crashed = await crash(folder, 'null>running', 'after')
    const store = await openSqliteStore({ path: join(folder, 'journal', 'journal.db') })
    const left = await store.listRuns({ limit: 10 })
    await store.close()
    const runs = new Map(left.map((run) => [run.run_id, toResult(run)]))
    assert.throws(() => check(crashed, runs), /is still running/)
    await rm(folder, { recursive: true, force: true })
  })
})
