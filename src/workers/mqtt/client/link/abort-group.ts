/** Many who wait with the same signal: one listener of it for all of them, since thousands may be in flight for one run. */
export interface AbortGroup<T> {
  add(signal: AbortSignal, waiter: T): void
  remove(signal: AbortSignal, waiter: T): void
}

interface Group<T> {
  readonly waiters: Set<T>
  readonly listener: () => void
}

/** `onAbort` is told of everyone who waits with a signal when it is aborted. */
export function createAbortGroup<T>(onAbort: (waiter: T, reason: unknown) => void): AbortGroup<T> {
  const bySignal = new Map<AbortSignal, Group<T>>()

  return {
    add(signal, waiter) {
      let group = bySignal.get(signal)
      if (group === undefined) {
        const waiters = new Set<T>()
        const listener = () => {
          bySignal.delete(signal)
          for (const each of waiters) onAbort(each, signal.reason)
        }
        group = { waiters, listener }
        bySignal.set(signal, group)
        signal.addEventListener('abort', listener, { once: true })
      }
      group.waiters.add(waiter)
    },
    remove(signal, waiter) {
      const group = bySignal.get(signal)
      if (group === undefined || !group.waiters.delete(waiter) || group.waiters.size > 0) return
      bySignal.delete(signal)
      signal.removeEventListener('abort', group.listener)
    },
  }
}
