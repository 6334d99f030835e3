import assert from 'node:assert/strict'
import { mhvError } from '../../src/core/errors.ts'
import type { Notification } from '../../src/core/notifier.ts'
import type { DeadLetter } from '../../src/store/dead-letter.ts'
import { createRuntimeFixture, type FixtureOptions, type RuntimeFixture } from './runtime-parts.ts'

/** Fails before anything was done. */
export const FAILS_CLEANLY = () => {
  throw mhvError('MHV_EXEC_NOT_STARTED', 'no room')
}

/** Fails, and nobody knows what was done. */
export const FAILS_UNKNOWN = () => {
  throw mhvError('MHV_EXEC_FAILED', 'who knows')
}

export interface LetterFixture extends RuntimeFixture {
  readonly told: Notification[]
  /** What acted, by run. */
  readonly acted: string[]
  /** How the next calls end; the last one stays. */
  script: readonly (() => unknown)[]
  onlyLetter(): Promise<DeadLetter>
  replay(
    more?: Record<string, unknown>,
  ): Promise<{ letter: { state: string; replays: number }; run: { run_id: string; status: string } }>
}

/** A runtime whose runs fail with `FAILS_CLEANLY` until `script` says otherwise. */
export function createLetterFixture(options: FixtureOptions = {}): LetterFixture {
  const told: Notification[] = []
  const acted: string[] = []
  const fixture = createRuntimeFixture({
    ...options,
    script: ({ run_id }) => {
      acted.push(run_id)
      const [next = () => ({ value: 1 }), ...rest] = letters.script
      if (rest.length > 0) letters.script = rest
      return next()
    },
    change: (parts) => {
      const notifier = { notify: (each: Notification) => void told.push(each) }
      return (options.change ?? ((same) => same))({ ...parts, notifier })
    },
  })
  const letters: LetterFixture = Object.assign(fixture, {
    told,
    acted,
    script: [FAILS_CLEANLY] as readonly (() => unknown)[],
    async onlyLetter() {
      const all = await fixture.store.listDeadLetters({ limit: 10 })
      assert.equal(all.length, 1)
      return all[0] as DeadLetter
    },
    async replay(more = {}) {
      const { id } = await letters.onlyLetter()
      return (await fixture.run(fixture.control('dlq_replay', { letter_id: id, ...more }))) as never
    },
  })
  return letters
}
