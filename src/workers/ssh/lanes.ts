import type { Clock } from '../../core/clock.ts'

/** So much work at once; what comes then waits for its turn, first come first served. */
export interface Lanes {
  /** `work` gets the milliseconds that are left of its time; none, and no lane, when its turn does not come in time. */
  run<T>(clock: Clock, timeoutMs: number, work: (leftMs: number) => Promise<T>): Promise<T>
}

export function createLanes(count: number): Lanes {
  let free = count
  const waiting: (() => void)[] = []

  /** False when the time was up first. */
  function turn(clock: Clock, timeoutMs: number): Promise<boolean> {
    if (free > 0) {
      free -= 1
      return Promise.resolve(true)
    }
    return new Promise((resolve) => {
      const take = () => {
        cancel()
        resolve(true)
      }
      const cancel = clock.after(timeoutMs, () => {
        waiting.splice(waiting.indexOf(take), 1)
        resolve(false)
      })
      waiting.push(take)
    })
  }

  function giveBack(): void {
    const next = waiting.shift()
    if (next) next()
    else free += 1
  }

  return {
    async run(clock, timeoutMs, work) {
      const until = clock.monotonic() + timeoutMs
      if (!(await turn(clock, timeoutMs))) return work(0)
      try {
        return await work(until - clock.monotonic())
      } finally {
        giveBack()
      }
    },
  }
}
