import type { Logger } from '../../../core/context.ts'
import type { PtyListener, PtyOutput } from './pty-session.ts'

/** The listeners of one session. */
export interface Listeners {
  add(listener: PtyListener): () => void
  count(): number
  /**
   * Gives a piece to all of them. `taken` is called with the cursor up to which all have taken everything, in order, at
   * once where nobody needs time.
   */
  deliver(output: PtyOutput): void
  /** Resolves when all that was delivered is taken. */
  settled(): Promise<void>
}

/**
 * Each listener is given the pieces in order and one at a time, and does not wait for another one; the slowest says how
 * fast the session goes.
 */
export function createListeners(log: Logger, taken: (cursor: number) => void): Listeners {
  const queues = new Set<ListenerQueue>()
  /** Pieces that somebody has not taken yet, oldest first. */
  const open: { readonly end: number; waiting: number }[] = []
  let idle: PromiseWithResolvers<void> | undefined

  function settle(): void {
    let cursor: number | undefined
    for (let first = open[0]; first !== undefined && first.waiting === 0; first = open[0]) {
      cursor = first.end
      open.shift()
    }
    if (cursor !== undefined) taken(cursor)
    if (open.length === 0) {
      idle?.resolve()
      idle = undefined
    }
  }

  return {
    add(listener) {
      const queue = createQueue(listener, (error) => {
        queues.delete(queue)
        const message = error instanceof Error ? error.message : String(error)
        log.error('a listener of a terminal session failed and gets nothing more', { error: message })
      })
      queues.add(queue)
      return () => {
        if (queues.delete(queue)) queue.end()
      }
    },
    count: () => queues.size,
    deliver(output) {
      const piece = { end: output.offset + output.bytes.length, waiting: 1 }
      open.push(piece)
      const done = () => {
        piece.waiting -= 1
        if (piece.waiting === 0) settle()
      }
      for (const queue of [...queues]) {
        piece.waiting += 1
        queue.push(output, done)
      }
      done()
    },
    settled() {
      if (open.length === 0) return Promise.resolve()
      idle ??= Promise.withResolvers<void>()
      return idle.promise
    },
  }
}

interface ListenerQueue {
  push(output: PtyOutput, done: () => void): void
  end(): void
}

/** Gives the pieces one after the other; at once, in the same turn, as long as the listener returns no promise. */
function createQueue(listener: PtyListener, failed: (error: unknown) => void): ListenerQueue {
  const waiting: { readonly output: PtyOutput; readonly done: () => void }[] = []
  let isBusy = false
  let isOver = false

  function end(): void {
    isOver = true
    for (const { done } of waiting.splice(0)) done()
  }

  function fail(error: unknown): void {
    if (isOver) return
    failed(error)
    end()
  }

  function work(): void {
    while (!isBusy && !isOver) {
      const next = waiting[0]
      if (next === undefined) return
      try {
        const result = listener(next.output)
        if (result === undefined) finishFirst()
        else {
          isBusy = true
          result.then(finishAndGoOn, fail)
        }
      } catch (error) {
        fail(error)
      }
    }
  }

  function finishFirst(): void {
    waiting.shift()?.done()
  }

  function finishAndGoOn(): void {
    isBusy = false
    if (isOver) return
    finishFirst()
    work()
  }

  return {
    push(output, done) {
      waiting.push({ output, done })
      work()
    },
    end,
  }
}
