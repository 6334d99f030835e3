import { closingLimit, isOpen, type Level, takeRoom } from './admission-levels.ts'
import { type AdmissionPlace, placeBefore } from './admission-place.ts'
import { type HeapIndex, IndexedHeap } from './indexed-heap.ts'

/** Runs of one worker, target, principal and priority, in the order in which they came: what holds one holds all. */
export interface Lane {
  readonly id: string
  readonly home: Source
  readonly levels: readonly Level[]
  head: AdmissionPlace | null
  tail: AdmissionPlace | null
  /** Where it waits now: at its target or at its principal. */
  source: Source
  heapIndex: number
  /** What was found in its way, and when; the newest last. */
  seen: { readonly at: number; readonly limit: string }[]
}

/** Lanes of one worker that wait at one target, or at one principal. Null: lanes without a target. */
export interface Source {
  readonly level: Level | null
  readonly gate: Gate
  readonly lanes: IndexedHeap<Lane>
  /** The lanes at home here, by id. */
  readonly byId: Map<string, Lane>
  heapIndex: number
}

/** A worker: its slots, and the sources of it that have room. */
export interface Gate {
  readonly level: Level
  readonly sources: IndexedHeap<Source>
  readonly untargeted: Source
  heapIndex: number
}

/**
 * The runs that wait, and who is next.
 *
 * What is looked at are heads of lanes, and only those that may go: a level without room takes all that wait for it out
 * of the heap above it. The process is a gate before the workers, a worker one before its targets and principals. A
 * lane whose target and principal both have limits waits at the one that was found closed, and is moved to the other
 * when that is the one in the way. So entering, leaving and granting take O(log n), however many wait.
 */
export interface AdmissionQueue {
  add(place: AdmissionPlace): void
  remove(place: AdmissionPlace): void
  /** To be called when a level has got room, or lost it. */
  settle(level: Level): void
  /** Takes out, one after the other, those that may go now, with their slots and tokens taken. */
  next(now: number): AdmissionPlace | undefined
}

/** Most changes that a lane remembers. */
const MAX_SEEN = 16

const heapIndex: HeapIndex<{ heapIndex: number }> = {
  get: (item) => item.heapIndex,
  set(item, index) {
    item.heapIndex = index
  },
}

const headOf = (lane: Lane) => lane.head as AdmissionPlace
const laneBefore = (a: Lane, b: Lane) => placeBefore(headOf(a), headOf(b))
const sourceBefore = (a: Source, b: Source) => laneBefore(a.lanes.peek() as Lane, b.lanes.peek() as Lane)
const gateBefore = (a: Gate, b: Gate) => sourceBefore(a.sources.peek() as Source, b.sources.peek() as Source)

export function createAdmissionQueue(process: Level, clockNow: () => number): AdmissionQueue {
  const gates = new IndexedHeap<Gate>(gateBefore, heapIndex)

  /** Keeps an item in its heap exactly as long as it belongs there. */
  function keep<T>(heap: IndexedHeap<T>, item: T, belongs: boolean): void {
    if (!belongs) heap.remove(item)
    else if (heap.has(item)) heap.update(item)
    else heap.add(item)
  }

  function settleGate(gate: Gate, now: number): void {
    keep(gates, gate, gate.sources.size > 0 && isOpen(gate.level, now))
  }

  function settleSource(source: Source, now: number): void {
    const { level, gate, lanes } = source
    keep(gate.sources, source, lanes.size > 0 && (level === null || isOpen(level, now)))
    settleGate(gate, now)
  }

  function settleAt(level: Level, now: number): void {
    for (const source of level.sources) settleSource(source, now)
    if (level.gate !== null) settleGate(level.gate, now)
  }

  function laneOf(place: AdmissionPlace): Lane {
    const { levels } = place
    const home = homeOf(levels)
    const id = `${place.rank}${principalOf(levels).name}`
    let lane = home.byId.get(id)
    if (lane === undefined) {
      lane = { id, home, levels, head: null, tail: null, source: home, heapIndex: -1, seen: [] }
      home.byId.set(id, lane)
    }
    return lane
  }

  /** After its first place has changed. */
  function settleLane(lane: Lane, now: number): void {
    const { source } = lane
    if (lane.head === null) lane.home.byId.delete(lane.id)
    keep(source.lanes, lane, lane.head !== null)
    settleSource(source, now)
  }

  function unlink(place: AdmissionPlace): void {
    const lane = place.lane as Lane
    const { previous, next } = place
    if (previous === null) lane.head = next
    else previous.next = next
    if (next === null) lane.tail = previous
    else next.previous = previous
    place.previous = null
    place.next = null
    count(place, -1)
  }

  function closedLevel({ levels }: Lane, now: number): Level | undefined {
    // Those before the worker and the process, which are open, or nobody would have asked.
    for (let index = 0; index < levels.length - 2; index++) {
      const level = levels[index] as Level
      if (!isOpen(level, now)) return level
    }
    return undefined
  }

  function move(lane: Lane, to: Level, now: number): void {
    const from = lane.source
    from.lanes.remove(lane)
    settleSource(from, now)
    lane.source = to.kind === 'target' ? lane.home : sourceOf(to, from.gate)
    notice(lane, closingLimit(to), now)
    lane.source.lanes.add(lane)
    settleSource(lane.source, now)
  }

  function take(lane: Lane, now: number): AdmissionPlace {
    const place = headOf(lane)
    unlink(place)
    for (const level of place.levels) takeRoom(level, now)
    settleLane(lane, now)
    for (const level of place.levels) if (!isOpen(level, now)) settleAt(level, now)
    return place
  }

  return {
    add(place) {
      const lane = laneOf(place)
      place.lane = lane
      // The same levels: one list for all of the lane.
      place.levels = lane.levels
      place.previous = lane.tail
      if (lane.tail === null) lane.head = place
      else lane.tail.next = place
      lane.tail = place
      count(place, 1)
      notice(lane, place.limit as string, place.enteredAt)
      if (lane.head === place) settleLane(lane, clockNow())
    },
    remove(place) {
      const lane = place.lane as Lane
      const first = lane.head === place
      unlink(place)
      if (first) settleLane(lane, clockNow())
    },
    settle: (level) => settleAt(level, clockNow()),
    next(now) {
      while (isOpen(process, now)) {
        const lane = gates.peek()?.sources.peek()?.lanes.peek()
        if (lane === undefined) return undefined
        const closed = closedLevel(lane, now)
        if (closed === undefined) return take(lane, now)
        move(lane, closed, now)
      }
      return undefined
    },
  }
}

function count({ levels, rank }: AdmissionPlace, by: 1 | -1): void {
  for (const level of levels) {
    level.queued += by
    level.queuedBy[rank] = (level.queuedBy[rank] as number) + by
  }
}

function notice(lane: Lane, limit: string, at: number): void {
  const { seen } = lane
  if (seen.at(-1)?.limit === limit) return
  if (seen.length >= MAX_SEEN) seen.shift()
  seen.push({ at, limit })
}

/** Levels are in the order target (if there is one), principal, worker, process. */
const workerOf = (levels: readonly Level[]) => levels[levels.length - 2] as Level
const principalOf = (levels: readonly Level[]) => levels[levels.length - 3] as Level
const targetOf = (levels: readonly Level[]) => (levels.length > 3 ? levels[0] : undefined)

/** Where lanes of these levels wait to begin with; made on first use. */
function homeOf(levels: readonly Level[]): Source {
  const gate = gateOf(workerOf(levels))
  const target = targetOf(levels)
  return target === undefined ? gate.untargeted : sourceOf(target, gate)
}

function gateOf(level: Level): Gate {
  if (level.gate === null) {
    const sources = new IndexedHeap<Source>(sourceBefore, heapIndex)
    const gate = { level, sources, heapIndex: -1 }
    level.gate = Object.assign(gate, { untargeted: createSource(null, gate as Gate) })
  }
  return level.gate
}

function sourceOf(level: Level, gate: Gate): Source {
  let source = level.sources.find((each) => each.gate === gate)
  if (source === undefined) {
    source = createSource(level, gate)
    level.sources.push(source)
  }
  return source
}

function createSource(level: Level | null, gate: Gate): Source {
  return { level, gate, lanes: new IndexedHeap<Lane>(laneBefore, heapIndex), byId: new Map(), heapIndex: -1 }
}
