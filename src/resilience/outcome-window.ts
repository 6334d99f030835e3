/** Parts of the window: an outcome stops counting at most one tenth of the window early or late. */
export const WINDOW_PARTS = 10

/** How many calls ended how within the last while. Its memory does not depend on their number. */
export interface OutcomeWindow {
  add(failed: boolean): void
  counts(): { readonly calls: number; readonly failures: number }
  clear(): void
}

/**
 * A ring of counters, one for each part of the window: counted is the part that has begun and the nine before it.
 * `now` gives milliseconds of a clock that never goes back.
 */
export function createOutcomeWindow(windowMs: number, now: () => number): OutcomeWindow {
  const width = windowMs / WINDOW_PARTS
  const calls = new Uint32Array(WINDOW_PARTS)
  const failures = new Uint32Array(WINDOW_PARTS)
  let newest = Math.floor(now() / width)

  /** Empties the parts that the time has passed since the last look; the place of the part that has begun. */
  function place(): number {
    const part = Math.floor(now() / width)
    const passed = Math.min(part - newest, WINDOW_PARTS)
    for (let step = 1; step <= passed; step++) {
      const stale = (newest + step) % WINDOW_PARTS
      calls[stale] = 0
      failures[stale] = 0
    }
    // More than a whole round leaves every part empty, wherever counting goes on.
    newest = part
    return part % WINDOW_PARTS
  }

  const sum = (counters: Uint32Array) => counters.reduce((total, each) => total + each, 0)
  return {
    add(failed) {
      const at = place()
      calls[at] = (calls[at] ?? 0) + 1
      if (failed) failures[at] = (failures[at] ?? 0) + 1
    },
    counts() {
      place()
      return { calls: sum(calls), failures: sum(failures) }
    },
    clear() {
      calls.fill(0)
      failures.fill(0)
    },
  }
}
