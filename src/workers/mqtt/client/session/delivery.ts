import type { IncomingMessage } from '../mqtt-session.ts'

/** Bytes that all subscriptions of a session hold together. */
export interface ReceiveBudget {
  used: number
  readonly limit: number
}

export interface DeliveryOptions {
  /** Messages held while the consumer is busy. */
  readonly max: number
  readonly budget: ReceiveBudget
  readonly drop_oldest: boolean
  onMessage(message: IncomingMessage): void | Promise<void>
  /** A QoS 0 message was not handed over. */
  onDrop(): void
  /** The consumer failed; nothing more is handed over, and what it has not dealt with stays unacknowledged. */
  onFailed(error: unknown): void
}

interface Held {
  readonly message: IncomingMessage
  /** Of its acknowledgement; undefined for QoS 0. */
  readonly done: PromiseWithResolvers<void> | undefined
}

/** Hands messages to one consumer, one after the other, and holds a bounded number of them while it is busy. */
export interface Delivery {
  /**
   * Returns a promise where the acknowledgement of a QoS 1 or 2 message has to wait. It rejects where the consumer has
   * failed: then there must be none.
   */
  push(message: IncomingMessage): Promise<void> | undefined
  /** Nothing more is handed over; what is held is acknowledged, since nobody wants it any more. */
  close(): void
}

/**
 * QoS 0 has no backpressure but the network's: what is beyond the room is dropped and counted. QoS 1 and 2 are never
 * dropped: they are acknowledged when they are dealt with, and the broker sends no more than the receive maximum before.
 */
export function createDelivery(options: DeliveryOptions): Delivery {
  const { max, budget, drop_oldest, onMessage, onDrop, onFailed } = options
  let held: Held[] = []
  /** Index of the first of `held`, and how many of it are QoS 0 and may be dropped. */
  let head = 0
  let droppable = 0
  let busy = false
  let closed = false
  let failure: unknown

  function take(): Held | undefined {
    const first = held[head]
    if (first === undefined) return undefined
    head += 1
    if (head === held.length) {
      held = []
      head = 0
    } else if (head > 1_024 && head * 2 > held.length) {
      held = held.slice(head)
      head = 0
    }
    budget.used -= first.message.payload.length
    if (first.done === undefined) droppable -= 1
    return first
  }

  /** A payload is a view of what was read at once, up to 64 KiB: held as it is, it would keep all of that alive. */
  function hold(message: IncomingMessage, done: Held['done']): void {
    held.push({ message: { ...message, payload: Buffer.from(message.payload) }, done })
    budget.used += message.payload.length
    if (done === undefined) droppable += 1
  }

  function full(bytes: number): boolean {
    return held.length - head >= max || budget.used + bytes > budget.limit
  }

  /** Drops the oldest QoS 0 message that is held. */
  function dropOldest(): void {
    if (held[head]?.done !== undefined) {
      // Those before it have to stay: it goes to the front, from where it is taken.
      const at = held.findIndex(({ done }, index) => index >= head && done === undefined)
      held.splice(head, 0, ...held.splice(at, 1))
    }
    take()
    onDrop()
  }

  /** Makes room for a QoS 0 message; false where there is none. */
  function makeRoom(bytes: number): boolean {
    while (full(bytes) && drop_oldest && droppable > 0) dropOldest()
    return !full(bytes)
  }

  async function drain(first: Promise<void>, firstDone: Held['done']): Promise<void> {
    let done = firstDone
    busy = true
    try {
      await first
      done?.resolve()
      while (!closed) {
        const next = take()
        if (next === undefined) break
        done = next.done
        const handled = onMessage(next.message)
        if (handled !== undefined) await handled
        done?.resolve()
      }
    } catch (error) {
      closed = true
      failure = error ?? new Error('the consumer failed')
      done?.reject(error)
      release((each) => each.reject(error))
      onFailed(error)
    } finally {
      busy = false
    }
  }

  function release(how: (done: PromiseWithResolvers<void>) => void): void {
    for (let next = take(); next !== undefined; next = take()) if (next.done !== undefined) how(next.done)
  }

  return {
    push(message) {
      if (closed) return failure === undefined || message.qos === 0 ? undefined : Promise.reject(failure)
      if (!busy) {
        let handled: void | Promise<void>
        try {
          handled = onMessage(message)
        } catch (error) {
          handled = Promise.reject(error)
        }
        if (handled === undefined) return undefined
        const done = message.qos === 0 ? undefined : Promise.withResolvers<void>()
        void drain(handled, done)
        return done?.promise
      }
      if (message.qos === 0) {
        if (makeRoom(message.payload.length)) hold(message, undefined)
        else onDrop()
        return undefined
      }
      const done = Promise.withResolvers<void>()
      hold(message, done)
      return done.promise
    },
    close() {
      closed = true
      release((done) => done.resolve())
    },
  }
}
