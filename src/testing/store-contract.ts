import { describe } from 'node:test'
import { createFakeClock, type FakeClock } from './fake-clock.ts'
import { describeBatches } from './store-contract-batches.ts'
import { describeClosing, describeMany } from './store-contract-calls.ts'
import { describeKeys } from './store-contract-keys.ts'
import { describeLetters } from './store-contract-letters.ts'
import { describeAdoption, describeOutbox } from './store-contract-outbox.ts'
import { describeReading } from './store-contract-reading.ts'
import { describeRecords, describeStateChanges } from './store-contract-records.ts'
import { describeChanges, describeNewRuns } from './store-contract-runs.ts'
import { type OpenedStore, SAMPLE_START, type WithStore } from './store-samples.ts'

/**
 * What every implementation of the port does. Registers the tests with node:test; each has a store of its own, whose
 * time is a clock that stands at SAMPLE_START.
 */
export function storeContract(name: string, open: (clock: FakeClock) => Promise<OpenedStore>): void {
  const withStore: WithStore = (test) => async () => {
    const clock = createFakeClock(SAMPLE_START)
    const opened = await open(clock)
    let failed = true
    try {
      await test(opened.store, clock, opened)
      failed = false
    } finally {
      await opened.cleanup(failed)
    }
  }
  describe(`${name}: the contract of a store`, () => {
    describe('a new run', () => describeNewRuns(withStore))
    describe('a change', () => describeChanges(withStore))
    describe('an idempotency key', () => describeKeys(withStore))
    describe('many calls', () => describeMany(withStore))
    describe('closing', () => describeClosing(withStore))
    describeReading(withStore)
    describeLetters(withStore)
    describe('a batch', () => describeBatches(withStore))
    describe('changes of state', () => describeStateChanges(withStore))
    describe('records of workers', () => describeRecords(withStore))
    describe('the outbox', () => describeOutbox(withStore))
    describe('taking over', () => describeAdoption(withStore))
  })
}
