import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import { isFinal } from '../../src/core/result.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Step } from '../fixtures/healing-schedule.ts'
import { probeFolder } from '../helpers/probe-composition.ts'

/**
 * RES-02: a run whose handle was given out always reaches a final state. Random schedules over real processes that end
 * with SIGKILL at any of their steps, with wall clocks that jump, operations that do not listen, ends that get lost.
 */

const calls = fc
  .record({
    operation: fc.constantFrom('work', 'work', 'resumable', 'deaf', 'lost'),
    ms: fc.constantFrom(0, 20, 400, 5_000),
    key: fc.option(fc.constantFrom('a', 'b'), { nil: undefined }),
  })
  .map((call) => ({ do: 'call', ...call }) as Step)
const pauses = fc.constantFrom(1, 5, 30, 120).map((ms): Step => ({ do: 'pause', ms }))
const jumps = fc.constantFrom(-86_400_000, -5_000, 5_000, 86_400_000).map((ms): Step => ({ do: 'jump', ms }))
const steps = fc.array(
  fc.oneof({ weight: 5, arbitrary: calls }, { weight: 3, arbitrary: pauses }, { weight: 1, arbitrary: jumps }),
  { minLength: 4, maxLength: 14 },
)

/** Schedules of the processes that are killed, and of the last one, which is not. */
const histories = fc.tuple(fc.array(steps, { minLength: 1, maxLength: 2 }), steps)

interface Ended {
  readonly handles: readonly string[]
  readonly signal: NodeJS.Signals | null
  readonly code: number | null
  readonly log: string
}

function runProcess(folder: string, schedule: readonly Step[], ...control: readonly string[]): Promise<Ended> {
  const program = join(import.meta.dirname, '../fixtures/healing-child.ts')
  const args = [program, folder, JSON.stringify(schedule), ...control]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  let log = ''
  child.stderr.on('data', (bytes: Buffer) => {
    log += bytes.toString()
  })
  child.stdout.on('data', (bytes: Buffer) => {
    out += bytes.toString()
  })
  return new Promise((resolve) => {
    child.on('close', (code, signal) => resolve({ handles: out.split('\n').filter(Boolean), code, signal, log }))
  })
}

interface Aftermath {
  readonly handles: number
  /** Handles whose run is not in the journal, or has no end there. */
  readonly open: readonly string[]
  /** Runs that acted more than once, other than by being taken up again. */
  readonly twice: readonly string[]
}

async function play(
  [killed, last]: readonly [readonly (readonly Step[])[], readonly Step[]],
  ...control: readonly string[]
): Promise<Aftermath> {
  const folder = await probeFolder()
  const handles = new Set<string>()
  for (const schedule of killed) {
    const { signal, ...ended } = await runProcess(folder, [...schedule, { do: 'die' }], ...control)
    assert.equal(signal, 'SIGKILL', ended.log)
    for (const id of ended.handles) handles.add(id)
  }
  const ended = await runProcess(folder, last, ...control)
  assert.equal(ended.code, 0, ended.log)
  for (const id of ended.handles) handles.add(id)

  const store = await openSqliteStore({ path: join(folder, 'journal', 'journal.db'), readOnly: true })
  const open: string[] = []
  for (const id of handles) {
    const run = await store.getRun(id)
    if (run === null || !isFinal(run.status) || run.end === null) open.push(id)
  }
  await store.close()
  const twice = await actedTwice(folder)
  await rm(folder, { recursive: true })
  return { handles: handles.size, open, twice }
}

async function actedTwice(folder: string): Promise<readonly string[]> {
  const ledger = await readFile(join(folder, 'ledger'), 'utf8').catch(() => '')
  const lines = ledger.split('\n').filter((line) => line.endsWith(' run'))
  return lines.filter((line, index) => lines.indexOf(line) !== index)
}

/** Time for the schedules, in milliseconds: none is begun after it. */
const TIME_MS = 12_000

suite('RES-02 a run whose handle was given out', () => {
  test('RES-02 always reaches a final state, and none acts twice: kill -9, clock jumps, random schedules', async () => {
    const until = performance.now() + TIME_MS
    let played = 0
    let handles = 0
    await fc.assert(
      fc.asyncProperty(histories, async (history) => {
        if (performance.now() > until) return
        const aftermath = await play(history)
        played += 1
        handles += aftermath.handles
        assert.deepEqual([aftermath.open, aftermath.twice], [[], []])
      }),
      { numRuns: 8, endOnFailure: true },
    )
    // Or it would say nothing.
    assert.ok(played >= 1 && handles >= 2, `${played} schedules, ${handles} handles`)
  })

  test('RES-02 stays open for good without healing: the control', async () => {
    const begun: Step[] = [
      { do: 'call', operation: 'work', ms: 5_000 },
      { do: 'call', operation: 'resumable', ms: 5_000 },
      // Long enough for both handles, on a busy machine too.
      { do: 'pause', ms: 1_500 },
    ]
    const { handles, open } = await play([[begun], [{ do: 'call', operation: 'lost', ms: 0 }]], 'unhealed')
    assert.ok(handles >= 2)
    assert.ok(open.length >= 2, `${open.length} of ${handles}`)
  })
})
