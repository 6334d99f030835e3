import { createRandom, type Random } from './random.ts'

/**
 * - `kill`: SIGKILL to the instance, which is started again.
 * - `pause`: SIGSTOP, then SIGCONT.
 * - `steal`: SIGSTOP, the lock removed, a second instance on the folder; then the first one goes on.
 * - `drop`: every connection to the far side is reset after so many further bytes.
 * - `flap`: for a while every connection to the far side is reset with its first byte.
 * - `stall`: nothing passes on the way to the far side, in either direction, and nobody is told.
 * - `disk_full`: the disk of the journal is full to the last byte.
 * - `clock_jump`: the instance's wall clock is so many seconds off from now on.
 */
export const FAULT_KINDS = ['kill', 'pause', 'steal', 'drop', 'flap', 'stall', 'disk_full', 'clock_jump'] as const
export type FaultKind = (typeof FAULT_KINDS)[number]

export interface Fault {
  readonly kind: FaultKind
  /** Milliseconds from the end of the one before it in its lane, or from the beginning: however slow the machine is. */
  readonly after_ms: number
  /** How long it lasts, for those that last. */
  readonly for_ms?: number
  /** `drop` only. */
  readonly bytes?: number
  /** `clock_jump` only: how far off the true time. */
  readonly offset_seconds?: number
}

/** Faults of one lane come one after the other; those of different lanes overlap. */
interface Lane {
  /** Dealt out in a random order, again and again, so that none is missing. */
  readonly deck: readonly FaultKind[]
  /** The first of all, where it matters. */
  readonly first?: FaultKind
  /** Milliseconds without one. */
  readonly gap: readonly [least: number, most: number]
}

const LANES = {
  process: { deck: ['kill', 'kill', 'pause', 'steal'], first: 'kill', gap: [900, 3_000] },
  link: { deck: ['drop', 'drop', 'drop', 'drop', 'flap', 'stall'], gap: [150, 900] },
  disk: { deck: ['disk_full'], gap: [1_500, 6_000] },
  clock: { deck: ['clock_jump'], gap: [700, 4_000] },
} satisfies Record<string, Lane>

export type LaneName = keyof typeof LANES
export const LANE_NAMES = Object.keys(LANES) as readonly LaneName[]

export type Schedule = Readonly<Record<LaneName, readonly Fault[]>>

/** Enough faults for so many seconds: nothing but the seed decides which, in what order, and how long each takes. */
export function drawSchedule(seed: number, seconds: number): Schedule {
  const random = createRandom(seed)
  // Each lane from numbers of its own, so that a longer storm begins as a shorter one does.
  const seeds = LANE_NAMES.map((name) => [name, random.whole(0, 2 ** 32 - 1)] as const)
  const lanes = seeds.map(([name, own]) => [name, drawLane(LANES[name], createRandom(own), seconds * 1_000)] as const)
  return Object.fromEntries(lanes) as unknown as Schedule
}

function drawLane(lane: Lane, random: Random, ms: number): readonly Fault[] {
  const faults: Fault[] = []
  let hand = lane.first === undefined ? [] : [lane.first]
  for (let passed = 0; ; ) {
    const after_ms = random.whole(...lane.gap)
    if (hand.length === 0) hand = [...random.shuffled(lane.deck)]
    const fault = drawFault(hand.shift() as FaultKind, after_ms, random)
    passed += after_ms + (fault.for_ms ?? 0)
    if (passed > ms) return faults
    faults.push(fault)
  }
}

function drawFault(kind: FaultKind, after_ms: number, random: Random): Fault {
  if (kind === 'pause') return { kind, after_ms, for_ms: random.whole(200, 2_500) }
  if (kind === 'drop') return { kind, after_ms, bytes: random.whole(0, 3_000) }
  if (kind === 'flap') return { kind, after_ms, for_ms: random.whole(100, 800) }
  if (kind === 'stall') return { kind, after_ms, for_ms: random.whole(200, 1_500) }
  if (kind === 'disk_full') return { kind, after_ms, for_ms: random.whole(300, 2_500) }
  if (kind === 'clock_jump') {
    // Mostly hours, as daylight saving and bad time servers do; sometimes a day.
    const most = random.chance(0.8) ? 7_200 : 86_400
    return { kind, after_ms, offset_seconds: random.whole(-most, most) }
  }
  return { kind, after_ms }
}
