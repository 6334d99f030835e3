import type { Entry } from './entry.ts'
import type { MessageOutcome } from './outbox.ts'

/** Messages that were accepted together and wait for their outcomes. */
export interface Batch {
  readonly outcomes: MessageOutcome[]
  open: number
  settle(): void
}

/** A message of the outbox in this process. */
export interface Held {
  readonly entry: Entry
  /** Of whoever waits for it; null after a restart. */
  readonly batch: Batch | null
  /** Its place in the batch. */
  readonly index: number
  /** Times that it was handed to the connection. */
  sends: number
  /** Times that the broker ended the connection for a message, with nothing else of the outbox on its way. */
  faults: number
  sending: boolean
  /** Whether it waited while there was no connection, and so is sent at the pace of a replay. */
  replay: boolean
  /** It has its outcome. */
  gone: boolean
  /** It gives way to newer ones as soon as these are on disk; until then it is neither sent nor given up. */
  leaving: boolean
}

/** The messages of one topic, in order. */
export interface Lane {
  readonly topic: string
  /** Those without an outcome: first the ones that are being sent, `next` of them, then those that wait. */
  readonly queue: Held[]
  next: number
  /** On their way, those without a place in the queue any more included. */
  sending: number
  qos: 1 | 2
  /** A send failed: nothing more is sent until all that is on its way has come back, and then all of it again. */
  stalled: boolean
  /** In the queue of lanes that may send. */
  ready: boolean
}

/** The messages by topic, and whose turn it is: lanes take turns, so that no topic waits for another one's backlog. */
export function createLanes() {
  const lanes = new Map<string, Lane>()
  let ready: Lane[] = []
  let paced: Lane[] = []

  function laneOf(topic: string): Lane {
    const found = lanes.get(topic)
    if (found !== undefined) return found
    const lane: Lane = { topic, queue: [], next: 0, sending: 0, qos: 1, stalled: false, ready: false }
    lanes.set(topic, lane)
    return lane
  }

  /** A broker delivers QoS 1 at once and QoS 2 a round trip later: messages of one topic wait for the other kind. */
  function maySend(lane: Lane): boolean {
    const held = lane.queue[lane.next]
    if (held === undefined || lane.stalled || held.leaving) return false
    return lane.sending === 0 || lane.qos === held.entry.message.qos
  }

  function makeReady(lane: Lane): void {
    if (lane.ready || !maySend(lane)) return
    lane.ready = true
    ready.push(lane)
  }

  return {
    add(held: Held): void {
      const lane = laneOf(held.entry.message.topic)
      lane.queue.push(held)
      makeReady(lane)
    },
    /** Takes the next message that may go, and counts it as being sent; `mayReplay` is asked for those of a backlog. */
    take(mayReplay: () => boolean): { readonly lane: Lane; readonly held: Held } | undefined {
      for (let lane = ready.shift(); lane !== undefined; lane = ready.shift()) {
        lane.ready = false
        const held = lane.queue[lane.next]
        if (held === undefined || !maySend(lane)) {
          if (lane.queue.length === 0 && lane.sending === 0) lanes.delete(lane.topic)
          continue
        }
        if (held.replay && !mayReplay()) {
          lane.ready = true
          paced.push(lane)
          continue
        }
        lane.next += 1
        lane.sending += 1
        lane.qos = held.entry.message.qos
        held.sending = true
        held.sends += 1
        makeReady(lane)
        return { lane, held }
      }
      return undefined
    },
    /** Whether lanes wait for their turn in a replay. */
    hasPaced: () => paced.length > 0,
    resumePaced(): void {
      ready = [...paced, ...ready]
      paced = []
    },
    /** What was sent has come back, with or without an outcome. */
    returned(lane: Lane, held: Held): void {
      lane.sending -= 1
      held.sending = false
      if (!held.gone) lane.stalled = true
      if (lane.sending === 0 && lane.stalled) {
        lane.stalled = false
        lane.next = 0
      }
      if (lane.queue.length === 0 && lane.sending === 0 && !lane.ready) lanes.delete(lane.topic)
      else makeReady(lane)
    },
    /** Another connection is there: nothing follows what may be on its way over the one before. */
    interrupt(): void {
      for (const lane of lanes.values()) if (lane.sending > 0) lane.stalled = true
    },
    /** It stays after all. */
    stay(held: Held): void {
      held.leaving = false
      makeReady(laneOf(held.entry.message.topic))
    },
    /** It has its outcome and leaves the queue. */
    remove(held: Held): void {
      const lane = lanes.get(held.entry.message.topic)
      const at = lane?.queue.indexOf(held) ?? -1
      if (lane === undefined || at < 0) return
      // Most of the time it is the first.
      if (at === 0) lane.queue.shift()
      else lane.queue.splice(at, 1)
      if (at < lane.next) lane.next -= 1
      if (lane.queue.length === 0 && lane.sending === 0 && !lane.ready) lanes.delete(lane.topic)
      else makeReady(lane)
    },
  }
}
