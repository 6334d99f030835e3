import type { Level } from './admission-levels.ts'
import type { Lane } from './admission-queue.ts'
import { IndexedHeap } from './indexed-heap.ts'
import type { Timed } from './timer-queue.ts'

/** Who wants to know when the slot is there, or that it will never be. One of the two is called, once, in a later tick. */
export interface PlaceListener {
  granted(): void
  ended(reason: unknown): void
}

/** What held a run back before it got its slot, for `mahavishnu explain`. */
export interface AdmissionTrace {
  readonly waited_ms: number
  /** Settings, each with the time it was the one in the way, as far as was looked. In the order of the time. */
  readonly limits: readonly { readonly limit: string; readonly waited_ms: number }[]
}

/** A slot, a place in the queue, or a call that waits for a place in it. */
export type PlaceState = 'outside' | 'queued' | 'granted' | 'ended' | 'released'

/** What a place asks of the admission that it belongs to. */
export interface PlaceOwner {
  now(): number
  expired(place: AdmissionPlace): void
  leave(place: AdmissionPlace, reason: unknown): void
  release(place: AdmissionPlace): void
}

export interface PlaceOrder {
  readonly key: number
  readonly number: number
  readonly rank: number
  readonly at: number
}

/**
 * A slot or a place in the queue. Exactly one `release` per place gives it back, whatever became of it.
 *
 * A class: ten thousand of these may wait at once, and closures would be most of what they weigh.
 */
export class AdmissionPlace implements Timed {
  state: PlaceState
  /** Number of runs ahead when it queued up, at the level that it waits for; 0 for one that did not wait. */
  position = 0
  /** The setting that was in its way when it came; null for one that did not wait. */
  limit: string | null = null
  /** The order in the queue: when it came, later by the aging time for each step of a lower priority. */
  readonly key: number
  /** Of two with the same key, the lower one came first. */
  readonly number: number
  /** Of its priority, in the order of PRIORITIES. */
  readonly rank: number
  /** Those that it needs room at, the narrowest first. */
  levels: readonly Level[]
  readonly enteredAt: number
  decidedAt = 0
  /** When it has waited too long; the level that says so, or null for its deadline. */
  due = 0
  expiresBy: Level | null = null
  timerIndex = -1
  heapIndex = -1
  lane: Lane | null = null
  /** The level whose queue it waits to get into. */
  outsideOf: Level | null = null
  previous: AdmissionPlace | null = null
  next: AdmissionPlace | null = null
  readonly #owner: PlaceOwner
  #onQueued: (() => void) | null = null
  #listener: PlaceListener | null = null
  #reason: unknown

  constructor(owner: PlaceOwner, order: PlaceOrder, levels: readonly Level[]) {
    this.#owner = owner
    this.key = order.key
    this.number = order.number
    this.rank = order.rank
    this.enteredAt = order.at
    this.levels = levels
    this.state = 'outside'
  }

  /** Whether the slot was there at once. */
  get immediate(): boolean {
    return this.limit === null
  }

  /** Null, or fulfilled when it has left the outside: it is queued, has its slot, or has ended. */
  entered(): Promise<void> | null {
    if (this.state !== 'outside') return null
    return new Promise((resolve) => {
      this.#onQueued = resolve
    })
  }

  /** For the owner: it is not outside any longer. */
  inQueue(): void {
    this.#onQueued?.()
    this.#onQueued = null
  }

  /** Called with what becomes of it; also where that is known already. */
  listen(listener: PlaceListener): void {
    this.#listener = listener
    if (this.state === 'granted' || this.state === 'ended') this.#tell()
  }

  /** Fulfilled when the slot is there; rejects when the place was left, shed, or has expired. */
  ready(): Promise<void> {
    return new Promise((granted, ended) => this.listen({ granted, ended }))
  }

  /** Gives up waiting: `reason` is what the listener gets. Does nothing once the slot is there. */
  leave(reason: unknown): void {
    if (this.state === 'queued' || this.state === 'outside') this.#owner.leave(this, reason)
  }

  release(): void {
    if (this.state !== 'released') this.#owner.release(this)
  }

  /** The time it has waited, or waits already, and for what. Milliseconds. */
  trace(): AdmissionTrace {
    const until = this.state === 'queued' || this.state === 'outside' ? this.#owner.now() : this.decidedAt
    const waits = new Map<string, number>()
    let [limit, since] = [this.limit, this.enteredAt]
    const note = (end: number) => {
      if (limit !== null && end > since) waits.set(limit, (waits.get(limit) ?? 0) + end - since)
    }
    for (const seen of this.lane?.seen ?? []) {
      if (seen.at <= this.enteredAt || seen.at >= until) continue
      note(seen.at)
      limit = seen.limit
      since = seen.at
    }
    note(until)
    const limits = [...waits].map(([name, ms]) => ({ limit: name, waited_ms: Math.round(ms) }))
    if (limits.length === 0 && this.limit !== null) limits.push({ limit: this.limit, waited_ms: 0 })
    return { waited_ms: Math.round(until - this.enteredAt), limits }
  }

  /** For the timers: it has waited too long. */
  fire(): void {
    this.#owner.expired(this)
  }

  /** For the owner: says what became of it. */
  decide(state: 'granted' | 'ended', now: number, reason?: unknown): void {
    this.state = state
    this.decidedAt = now
    this.#reason = reason
    this.inQueue()
    if (this.#listener !== null) this.#tell()
  }

  /** Later, so that nobody who is told changes the queue while it is being walked. */
  #tell(): void {
    const [listener, state, reason] = [this.#listener, this.state, this.#reason]
    this.#listener = null
    queueMicrotask(() => (state === 'granted' ? listener?.granted() : listener?.ended(reason)))
  }
}

/** Lower key first, then whoever came first. */
export function placeBefore(a: AdmissionPlace, b: AdmissionPlace): boolean {
  return a.key === b.key ? a.number < b.number : a.key < b.key
}

export type OutsideQueue = IndexedHeap<AdmissionPlace>

export function orderedPlaces(): OutsideQueue {
  return new IndexedHeap<AdmissionPlace>(placeBefore, {
    get: (place) => place.heapIndex,
    set(place, index) {
      place.heapIndex = index
    },
  })
}
