import type { Clock } from '../core/clock.ts'
import { IndexedHeap } from './indexed-heap.ts'

/** Something that falls due. One object per thing that waits, and no timer or closure of its own. */
export interface Timed {
  /** On the clock's monotonic time, in milliseconds. Set by the queue. */
  due: number
  /** Kept by the queue; -1 to begin with. */
  timerIndex: number
  /** Called once, after it was taken out. */
  fire(): void
}

/** Many times to wait for with one timer of the clock: adding and removing is O(log n). */
export interface TimerQueue {
  /** Adds it, or moves it to another time. */
  set(timed: Timed, due: number): void
  remove(timed: Timed): void
  /** Fires what is due by now, also where the timer is late. */
  runDue(): void
  /** Whether things that were due together are being fired. */
  firing(): boolean
}

/** `after` is called when all that was due at once has been fired. */
export function createTimerQueue(clock: Clock, after: () => void = () => undefined): TimerQueue {
  const heap = new IndexedHeap<Timed>((a, b) => a.due < b.due, {
    get: (timed) => timed.timerIndex,
    set(timed, index) {
      timed.timerIndex = index
    },
  })
  let firing = false
  let armedFor = Number.POSITIVE_INFINITY
  let cancel: (() => void) | undefined

  /** A timer that fires too early costs nothing; so it stays when what it was for has gone, unless nothing is left. */
  function arm(): void {
    const due = heap.peek()?.due ?? Number.POSITIVE_INFINITY
    if (due === Number.POSITIVE_INFINITY || due < armedFor) {
      cancel?.()
      cancel = undefined
      armedFor = Number.POSITIVE_INFINITY
    }
    if (due === Number.POSITIVE_INFINITY || cancel !== undefined) return
    armedFor = due
    cancel = clock.after(Math.max(0, Math.ceil(due - clock.monotonic())), () => {
      cancel = undefined
      armedFor = Number.POSITIVE_INFINITY
      runDue()
      arm()
    })
  }

  function isDue(now: number): boolean {
    return (heap.peek()?.due ?? Number.POSITIVE_INFINITY) <= now
  }

  function runDue(): void {
    const now = clock.monotonic()
    if (firing || !isDue(now)) return
    firing = true
    try {
      for (let first = heap.peek(); first !== undefined && first.due <= now; first = heap.peek()) {
        heap.remove(first)
        first.fire()
      }
    } finally {
      firing = false
    }
    after()
  }

  return {
    set(timed, due) {
      heap.remove(timed)
      timed.due = due
      heap.add(timed)
      arm()
    },
    remove(timed) {
      if (heap.remove(timed) && heap.size === 0) arm()
    },
    runDue,
    firing: () => firing,
  }
}
