import type { Clock } from '../../../../core/clock.ts'

/** Looks within the time after which an acknowledgement is overdue. */
const LOOKS = 4

export interface AckWatchParts<T extends object> {
  readonly clock: Clock
  readonly seconds: number
  /** The one whose acknowledgement is due next; undefined where there is none. */
  oldest(): T | undefined
  /** Bytes that the connection has not taken yet. */
  unwritten(): number
  onOverdue(): void
}

/**
 * Finds brokers that answer pings and acknowledge nothing: what is in flight would wait for ever, and so would all that
 * waits for its place. Brokers acknowledge in order (MQTT 5, 4.6), so it is enough to look whether the oldest goes. Looks
 * are counted, and not time: after a process was stopped for a while, its acknowledgements may lie there to be read.
 */
export function createAckWatch<T extends object>(parts: AckWatchParts<T>) {
  const { clock, seconds, oldest, unwritten, onOverdue } = parts
  let cancel: (() => void) | undefined
  let watched: T | undefined
  let looks = 0
  let bytes = 0
  let stopped = false

  function look(): void {
    cancel = undefined
    const now = oldest()
    if (now === undefined) {
      watched = undefined
      return
    }
    const left = unwritten()
    // A large message may take its time, as long as some of it goes.
    if (now !== watched || (left > 0 && left !== bytes)) looks = 0
    watched = now
    bytes = left
    looks += 1
    if (looks > LOOKS) onOverdue()
    else begin()
  }

  function begin(): void {
    if (!stopped) cancel ??= clock.after((seconds * 1000) / LOOKS, look)
  }

  return {
    /** To be called with everything that is sent. */
    begin,
    stop(): void {
      stopped = true
      cancel?.()
    },
  }
}
