const ID = 1

/** What mqtt.js asks for its timer of pings. */
export interface PingTimer {
  /** Calls `tick` every `ms`. Answers with a number by which mqtt.js knows that it is set: there is only one timer. */
  set(tick: () => void, ms: number): number
  clear(): void
}

/**
 * mqtt.js clears its timer and sets it again with every acknowledgement. Here a cleared one is kept, and only begins anew
 * when it is set again, which takes a fraction of the time.
 */
export function createPingTimer(): PingTimer {
  let timer: NodeJS.Timeout | undefined
  let every = 0
  let tick: (() => void) | undefined

  function onTime(): void {
    if (tick !== undefined) tick()
    else {
      // It was cleared for good.
      clearInterval(timer)
      timer = undefined
    }
  }

  return {
    set(next, ms) {
      tick = next
      if (timer !== undefined && every === ms) {
        timer.refresh()
        return ID
      }
      clearInterval(timer)
      every = ms
      timer = setInterval(onTime, ms)
      // Its connection keeps the process alive; a cleared one shall not.
      timer.unref()
      return ID
    },
    clear() {
      tick = undefined
    },
  }
}
