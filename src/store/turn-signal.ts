/**
 * Tells the writer, while it still has a transaction open, that the client is just passing on the answers of the one
 * before, so that the callers' next changes are about to arrive. Waiting for those few makes one commit of what would
 * otherwise be two; and the writer works on the first of them while the client still sends the last.
 *
 * Shared memory, since the writer does not return to its event loop within a transaction.
 */
const COMING = 0
const CHANGES = 1
const FIELDS = 2

/** The longest that a transaction is held open, in milliseconds, should the client do something else meanwhile. */
const MAX_WAIT_MS = 0.5

export function createTurnSignal(): SharedArrayBuffer {
  return new SharedArrayBuffer(FIELDS * Int32Array.BYTES_PER_ELEMENT)
}

/** The client's side: whether more is about to come. Called after every message, which wakes the writer. */
export function signalTurn(signal: SharedArrayBuffer): (coming: boolean) => void {
  const fields = new Int32Array(signal)
  return (coming) => {
    Atomics.store(fields, COMING, coming ? 1 : 0)
    Atomics.add(fields, CHANGES, 1)
    Atomics.notify(fields, CHANGES)
  }
}

/**
 * The writer's side: takes the next message. Where there is none although one is coming, waits for it, at most
 * MAX_WAIT_MS in all until `begin` is called again.
 */
export function createPatience(signal: SharedArrayBuffer) {
  const fields = new Int32Array(signal)
  let deadline: number | undefined
  return {
    begin(): void {
      deadline = undefined
    },
    take<T>(receive: () => T | undefined): T | undefined {
      for (;;) {
        // Looked at before receiving, so that nothing that arrives in between is slept through.
        const seen = Atomics.load(fields, CHANGES)
        const coming = Atomics.load(fields, COMING) === 1
        const message = receive()
        if (message !== undefined || !coming) return message
        const now = performance.now()
        deadline ??= now + MAX_WAIT_MS
        if (now >= deadline) return undefined
        Atomics.wait(fields, CHANGES, seen, deadline - now)
      }
    },
  }
}
