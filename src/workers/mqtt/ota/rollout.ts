/**
 * The state machine of a roll-out, without time, broker or disk: which devices are told when, and what their reports make of
 * them. Terms: a device is *in flight* from being told until its end is on disk; only then its place is free again.
 */

/** The states of a device, in their order; `waiting` before it is told, `failed` from any. */
export const OTA_STATES = ['waiting', 'notified', 'downloading', 'verified', 'installing', 'updated', 'failed'] as const
export type OtaState = (typeof OTA_STATES)[number]

/** What a device may say of itself. */
export const REPORTED_STATES = ['notified', 'downloading', 'verified', 'installing', 'updated', 'failed'] as const
export type ReportedState = (typeof REPORTED_STATES)[number]

/** A device as it is on disk. */
export interface KeptDevice {
  readonly state: OtaState
  /** Why it failed, and in which state it was before; null otherwise. */
  readonly reason: string | null
}

export interface RolloutOptions {
  readonly devices: readonly string[]
  /** Devices in flight at once. */
  readonly concurrency: number
  /** Devices that may fail; with one more, no further device is told. */
  readonly failure_limit: number
  /** What is on disk of an earlier process. */
  readonly kept?: ReadonlyMap<string, KeptDevice>
}

export interface RolloutCounts {
  readonly waiting: number
  /** Told, and not at an end. */
  readonly active: number
  readonly updated: number
  readonly failed: number
}

export interface Rollout {
  /** The devices that are to be told now: each is `notified` from here on, which has to be on disk before it is told. */
  take(): readonly string[]
  /** What a device says of itself. `ended`: its end has to be written down, and then `settled` called. */
  report(device: string, state: ReportedState, reason?: string | null): 'moved' | 'ended' | 'ignored'
  /** Its end is on disk: its place is free. */
  settled(device: string): void
  device(id: string): KeptDevice | undefined
  /** Devices that were told and are not at an end. */
  active(): readonly string[]
  counts(): RolloutCounts
  /** More devices have failed than may. */
  stopped(): boolean
  /** Nobody is in flight, and nobody else is to be told. */
  over(): boolean
}

const RANK = new Map(OTA_STATES.map((state, rank) => [state, rank]))
const isEnd = (state: OtaState) => state === 'updated' || state === 'failed'

/**
 * Never more than `failure_limit + concurrency` devices fail: whoever is told is told while at most `failure_limit` have
 * failed, and then at most `concurrency` are in flight. What is on disk says no less than that, so it holds over a crash.
 */
export function createRollout({ devices, concurrency, failure_limit, kept = new Map() }: RolloutOptions): Rollout {
  const states = new Map<string, KeptDevice>(
    devices.map((id) => [id, kept.get(id) ?? { state: 'waiting', reason: null }]),
  )
  const inFlight = new Set<string>()
  const counts = { waiting: 0, active: 0, updated: 0, failed: 0 }
  for (const [id, { state }] of states) {
    counts[groupOf(state)] += 1
    if (groupOf(state) === 'active') inFlight.add(id)
  }
  let next = 0

  function move(id: string, state: OtaState, reason: string | null): void {
    const before = states.get(id)?.state ?? 'waiting'
    counts[groupOf(before)] -= 1
    counts[groupOf(state)] += 1
    states.set(id, { state, reason })
  }

  const stopped = () => counts.failed > failure_limit

  return {
    take() {
      const taken: string[] = []
      while (!stopped() && inFlight.size < concurrency && next < devices.length) {
        const id = devices[next] ?? ''
        next += 1
        if (states.get(id)?.state !== 'waiting') continue
        move(id, 'notified', null)
        inFlight.add(id)
        taken.push(id)
      }
      return taken
    },
    report(id, state, reason = null) {
      const known = states.get(id)
      // Who was not told has nothing to say, and an end is an end.
      if (known === undefined || known.state === 'waiting' || isEnd(known.state)) return 'ignored'
      // Late, or once more.
      if ((RANK.get(state) ?? 0) <= (RANK.get(known.state) ?? 0)) return 'ignored'
      move(id, state, state === 'failed' ? `${reason ?? 'it failed'} (it was ${known.state})` : null)
      return isEnd(state) ? 'ended' : 'moved'
    },
    settled(id) {
      if (isEnd(states.get(id)?.state ?? 'waiting')) inFlight.delete(id)
    },
    device: (id) => states.get(id),
    active: () => [...inFlight].filter((id) => !isEnd(states.get(id)?.state ?? 'waiting')),
    counts: () => ({ ...counts }),
    stopped,
    over: () => inFlight.size === 0 && (stopped() || counts.waiting === 0),
  }
}

function groupOf(state: OtaState): 'waiting' | 'active' | 'updated' | 'failed' {
  if (state === 'waiting' || state === 'updated' || state === 'failed') return state
  return 'active'
}
