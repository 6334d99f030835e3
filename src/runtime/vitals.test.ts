import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { mhvError } from '../core/errors.ts'
import { createVitals } from './vitals.ts'

interface Given {
  readonly lagMs?: number
  readonly check?: () => Promise<void>
  readonly unwell?: readonly string[]
}

function vitalsOf({ lagMs = 3, check = async () => undefined, unwell = [] }: Given) {
  const delay = {
    max: lagMs * 1e6,
    enable: () => true,
    disable: () => true,
    reset() {
      delay.max = 0
    },
  }
  return createVitals({ check }, { unwell: async () => unwell }, { delay })
}

suite('whether the process is alive enough to be left running', () => {
  test('yes, where the loop turns, the journal writes and the workers answer', async () => {
    assert.deepEqual(await vitalsOf({}).check(), { ready: true, reasons: [] })
  })

  test('no, with every reason', async () => {
    const check = async () => {
      throw mhvError('MHV_JOURNAL_FULL', 'no room')
    }
    const vitals = vitalsOf({ lagMs: 5_001, check, unwell: ['ssh'] })
    assert.deepEqual(await vitals.check(), {
      ready: false,
      reasons: ['the event loop stood still for 5001 ms', 'MHV_JOURNAL_FULL', 'worker ssh does not answer'],
    })
  })

  test('a stall counts once: at the next look it is over', async () => {
    const vitals = vitalsOf({ lagMs: 60_000 })
    assert.equal((await vitals.check()).ready, false)
    assert.equal((await vitals.check()).ready, true)
  })

  test('a real stall of the event loop is seen', async () => {
    const vitals = createVitals({ check: async () => undefined }, { unwell: async () => [] }, { maxLagMs: 250 })
    await new Promise((resolve) => setTimeout(resolve, 30))
    const until = performance.now() + 300
    while (performance.now() < until);
    await new Promise((resolve) => setTimeout(resolve, 30))
    const { reasons } = await vitals.check()
    vitals.stop()
    assert.match(reasons.join(), /the event loop stood still for \d{3,} ms/)
  })
})
