/** Many who wait with the same signal: one listener of it for all of them, since thousands may be in flight for one run. */
export interface AbortGroup {
  /** The returned function takes it out again. */
  add(signal: AbortSignal, onAbort: () => void): () => void
}

export function createAbortGroup(): AbortGroup {
  const bySignal = new Map<AbortSignal, { readonly calls: Set<() => void>; readonly listener: () => void }>()

  return {
    add(signal, onAbort) {
      let group = bySignal.get(signal)
      if (group === undefined) {
        const calls = new Set<() => void>()
        const listener = () => {
          bySignal.delete(signal)
          for (const call of calls) call()
        }
        group = { calls, listener }
        bySignal.set(signal, group)
        signal.addEventListener('abort', listener, { once: true })
      }
      const { calls, listener } = group
      calls.add(onAbort)
      return () => {
        calls.delete(onAbort)
        if (calls.size > 0 || bySignal.get(signal)?.calls !== calls) return
        bySignal.delete(signal)
        signal.removeEventListener('abort', listener)
      }
    },
  }
}
