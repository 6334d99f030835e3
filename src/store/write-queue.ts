import { fromWire, type MhvError } from '../core/errors.ts'
import { createFifo } from './fifo.ts'
import { type Answers, type Change, type ChangeOf, type ChangeOp, isRefusal, type Refusal } from './protocol.ts'

/** What may be on its way to the writer at once; beyond it callers wait. */
export interface WriterLimits {
  readonly maxChanges: number
  /** Estimated; the change that crosses the limit still goes. */
  readonly maxBytes: number
}

export const WRITER_LIMITS: WriterLimits = { maxChanges: 4096, maxBytes: 16 * 1024 * 1024 }

/**
 * Changes of so many bytes go at once and not at the end of the turn: waking the thread for them is little beside what it
 * does with them, and it does that while the turn goes on.
 */
const FULL_MESSAGE = 64 * 1024

export interface Encoded<Op extends ChangeOp = ChangeOp> {
  readonly change: ChangeOf<Op>
  /** Estimated size of the message. */
  readonly bytes: number
  readonly transfer?: readonly ArrayBuffer[]
}

/** Where the changes go. */
export interface Outlet {
  post(changes: readonly Change[], transfer: ArrayBuffer[]): void
  /** Whether answers are expected. */
  hold(busy: boolean): void
}

type Reply = Answers[ChangeOp] | Refusal

interface Call {
  encode(): Encoded
  resolve(answer: Answers[ChangeOp]): void
  reject(error: unknown): void
  /** Of the message; known when it is on its way. */
  bytes: number
}

export interface WriteQueue {
  /**
   * Sends a change, in the order of the calls, and gives the writer's answer. `encode` is called when there is room,
   * so what it reads may not change until then.
   */
  send<Op extends ChangeOp>(encode: () => Encoded<Op>): Promise<Answers[Op]>
  /** Takes the writer's answers to the oldest changes. */
  settle(replies: readonly Reply[]): void
  /** Refuses everything that is on its way or waits. */
  fail(error: MhvError): void
  /** Fulfilled when nothing is on its way or waits. */
  idle(): Promise<void>
  /** Changes on their way, and callers that wait for room. */
  size(): { readonly changes: number; readonly bytes: number; readonly waiting: number }
}

/**
 * Collects the changes of one turn of the event loop into one message, so into one transaction, and bounds what is on
 * its way.
 */
export function createWriteQueue(outlet: Outlet, limits: WriterLimits): WriteQueue {
  const waiting = createFifo<Call>()
  const pending = createFifo<Call>()
  const idlers: (() => void)[] = []
  let bytes = 0
  let changes: Change[] = []
  let transfer: ArrayBuffer[] = []
  /** Bytes of the changes that are not sent yet. */
  let unsent = 0

  function flush(): void {
    const message = changes
    const buffers = transfer
    changes = []
    transfer = []
    unsent = 0
    if (message.length === 0) return
    outlet.post(message, buffers)
  }

  function enqueue(call: Call): void {
    try {
      const encoded = call.encode()
      // At the end of the turn: what other callers have for the journal, and what they do next with their answers, goes
      // along. A message of its own for each would wake the thread as often.
      if (changes.length === 0) setImmediate(flush)
      if (pending.size() === 0) outlet.hold(true)
      changes.push(encoded.change)
      if (encoded.transfer !== undefined) transfer.push(...encoded.transfer)
      bytes += encoded.bytes
      call.bytes = encoded.bytes
      pending.push(call)
      unsent += encoded.bytes
      if (unsent >= FULL_MESSAGE) flush()
    } catch (error) {
      call.reject(error)
    }
  }

  function hasRoom(): boolean {
    return pending.size() < limits.maxChanges && bytes < limits.maxBytes
  }

  function admit(): void {
    while (hasRoom()) {
      const call = waiting.shift()
      if (call === undefined) break
      enqueue(call)
    }
    if (pending.size() > 0) return
    outlet.hold(false)
    for (const idler of idlers.splice(0)) idler()
  }

  return {
    send<Op extends ChangeOp>(encode: () => Encoded<Op>) {
      return new Promise<Answers[Op]>((resolve, reject) => {
        const call = { encode, resolve, reject, bytes: 0 } as unknown as Call
        // Where there is room nobody waits: whoever makes room lets those in at once.
        if (hasRoom()) enqueue(call)
        else waiting.push(call)
      })
    },
    settle(replies) {
      for (const reply of replies) {
        const call = pending.shift()
        bytes -= call?.bytes ?? 0
        if (isRefusal(reply)) call?.reject(fromWire(reply.error))
        else call?.resolve(reply)
      }
      admit()
    },
    fail(error) {
      changes = []
      transfer = []
      unsent = 0
      bytes = 0
      for (const queue of [pending, waiting]) {
        for (let call = queue.shift(); call !== undefined; call = queue.shift()) call.reject(error)
      }
      admit()
    },
    idle() {
      if (pending.size() === 0 && waiting.size() === 0) return Promise.resolve()
      return new Promise((resolve) => idlers.push(resolve))
    },
    size: () => ({ changes: pending.size(), bytes, waiting: waiting.size() }),
  }
}
