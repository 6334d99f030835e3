import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BREAKABLE, type Breakable } from './storm/broken.ts'
import { holds, runStorm, type StormReport } from './storm/driver.ts'
import { drawSchedule, FAULT_KINDS } from './storm/schedule.ts'

/** `npm run chaos` in a few seconds. The seeds are fixed: what they draw has a kill early on, and then a theft. */
const SEED = 103
/** Most storms in which a negative control looks for what must go wrong. */
const STORMS = 5

function numbersOf({ lost, duplicated_effects, stuck, invariant_failures }: StormReport) {
  return { lost, duplicated_effects, stuck, invariant_failures }
}

test('a seed gives the same faults again, and a storm of two minutes has all kinds of them', () => {
  const schedule = drawSchedule(SEED, 120)
  assert.deepEqual(drawSchedule(SEED, 120), schedule)
  assert.notDeepEqual(drawSchedule(SEED + 1, 120), schedule)
  const kinds = new Set(Object.values(schedule).flatMap((faults) => faults.map(({ kind }) => kind)))
  assert.deepEqual([...kinds].sort(), [...FAULT_KINDS].sort())
})

describe('RES-02: a run whose handle was given out always reaches a final state', () => {
  test('in a storm of kills, thefts of the lock, dropped connections, full disks and clock jumps', async (t) => {
    const { report, evidence } = await runStorm({ seed: SEED, seconds: 8, callers: 10 })
    assert.ok(holds(report), evidence.join('\n'))
    assert.ok((report.faults.kill ?? 0) > 0 && (report.faults.drop ?? 0) > 0, JSON.stringify(report.faults))
    assert.ok(report.completed > 10 && report.effects > 10 && report.broken_calls > 0, JSON.stringify(report))
    for (const reason of report.skipped_faults) t.diagnostic(`not tried: ${reason}`)
  })
})

describe('RES-10: a worker in a process of its own that is killed or stopped ends its runs honestly', () => {
  test('in the same storm, with kill -9 and SIGSTOP of the processes of the workers', async () => {
    const { report, evidence } = await runStorm({ seed: SEED, seconds: 10, callers: 10, isolation: 'process' })
    assert.ok(holds(report), evidence.join('\n'))
    const { worker_kill = 0, worker_stop = 0 } = report.faults
    assert.ok(worker_kill > 0 && worker_stop > 0, JSON.stringify(report.faults))
    assert.ok(report.completed > 10 && report.effects > 10, JSON.stringify(report))
  })
})

describe('a storm over an instance without one of its mechanisms finds that out', { concurrency: true }, () => {
  /** What each of them is there to prevent. */
  const FOUND: Record<Breakable, (numbers: ReturnType<typeof numbersOf>) => number> = {
    journal: ({ lost }) => lost,
    retry: ({ duplicated_effects }) => duplicated_effects,
    lease: ({ stuck }) => stuck,
  }
  for (const broken of BREAKABLE) {
    test(`negative control: ${broken}`, async () => {
      const reports: unknown[] = []
      // Six seconds are few: whether a fault meets a call at the moment that matters is left to chance each time.
      for (let storm = 0; storm < STORMS; storm++) {
        const { report } = await runStorm({ seed: SEED, seconds: 6, callers: 10, broken, calmSeconds: 5 })
        if (FOUND[broken](numbersOf(report)) > 0) {
          assert.equal(holds(report), false)
          return
        }
        reports.push(report)
      }
      assert.fail(`not found in ${STORMS} storms: ${JSON.stringify(reports)}`)
    })
  }
})
