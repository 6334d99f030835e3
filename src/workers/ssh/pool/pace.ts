import type { Clock } from '../../../core/clock.ts'

/** When something that was refused may be tried again: after an interval that doubles with every refusal in a row. */
export interface Pace {
  ready(): boolean
  /** Not before its interval has passed; the next one is twice as long. */
  rest(): void
  /** At once again, and with the first interval after the next refusal. */
  reset(): void
}

export interface PaceParts {
  readonly clock: Clock
  /** Milliseconds: the first interval, and the longest. */
  readonly first: number
  readonly longest: number
  /** An interval has passed. */
  wake(): void
}

export function createPace({ clock, first, longest, wake }: PaceParts): Pace {
  let interval = first
  let cancel: (() => void) | undefined

  return {
    ready: () => cancel === undefined,
    rest() {
      cancel?.()
      // Not by comparing times: a timer may fire a little before its time, and nothing would look again.
      cancel = clock.after(interval, () => {
        cancel = undefined
        wake()
      })
      interval = Math.min(interval * 2, longest)
    },
    reset() {
      cancel?.()
      cancel = undefined
      interval = first
    },
  }
}
