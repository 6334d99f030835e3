import type { WorkerState } from '../../../core/context.ts'
import type { KeptDevice, OtaState } from './rollout.ts'
import { OTA_STATES } from './rollout.ts'

/** Keys of the worker's state: one for each roll-out, and below another prefix one for each device that was told. */
const ROLLOUTS = 'ota/rollouts/'
const devicesOf = (rollout: string) => `ota/devices/${rollout}/`

/** How long after its deadline a roll-out stays on disk that nobody has settled, in milliseconds. */
const KEEP_MS = 7 * 86_400_000
/** Keys that are removed at once. */
const AT_ONCE = 1_000

/** In the place of words of a device that the journal does not take. */
const UNKEPT = 'it failed; what it said could not be kept'

/** `[state]` or `[state, reason]`, under the place of the device in the call. */
type Stored = readonly [state: OtaState, reason?: string]

/** What a roll-out has on disk, so that another process can go on with it. */
export interface RolloutStore {
  /** Resolves when these devices are on disk; calls that come meanwhile are written together. */
  save(devices: Iterable<readonly [place: number, device: KeptDevice]>): Promise<void>
}

/** Notes that a roll-out begins; throws what the journal throws. */
export async function beginRollout(state: WorkerState, rollout: string, deadline: number): Promise<void> {
  await state.set(ROLLOUTS + rollout, { deadline })
}

/** The devices that were told, by their place in the call. Null where the roll-out has not begun. */
export async function readRollout(
  state: WorkerState,
  rollout: string,
): Promise<ReadonlyMap<number, KeptDevice> | null> {
  if ((await state.get(ROLLOUTS + rollout)) === undefined) return null
  const prefix = devicesOf(rollout)
  const found = new Map<number, KeptDevice>()
  for (const { key, value } of await state.list(prefix)) {
    const [known, reason = null] = value as Stored
    if (OTA_STATES.includes(known)) found.set(Number(key.slice(prefix.length)), { state: known, reason })
  }
  return found
}

/** Removes a roll-out whose end is in the journal. */
export async function forgetRollout(state: WorkerState, rollout: string): Promise<void> {
  const keys = (await state.list(devicesOf(rollout))).map(({ key }) => key)
  for (let at = 0; at < keys.length; at += AT_ONCE) await state.apply({ delete: keys.slice(at, at + AT_ONCE) })
  await state.delete(ROLLOUTS + rollout)
}

/** Removes those that ended without being settled, long ago. */
export async function forgetOldRollouts(state: WorkerState, now: number): Promise<void> {
  for (const { key, value } of await state.list(ROLLOUTS)) {
    const { deadline } = value as { readonly deadline: number }
    if (deadline + KEEP_MS < now) await forgetRollout(state, key.slice(ROLLOUTS.length))
  }
}

export function createRolloutStore(state: WorkerState, rollout: string): RolloutStore {
  const prefix = devicesOf(rollout)
  let waiting = new Map<number, KeptDevice>()
  let next: Promise<void> | undefined
  let writing: Promise<void> = Promise.resolve()

  async function write(): Promise<void> {
    const group = waiting
    waiting = new Map()
    next = undefined
    const stored = (words: (reason: string) => string) =>
      [...group].map(([place, { state, reason }]): readonly [string, Stored] => [
        prefix + place,
        reason === null ? [state] : [state, words(reason)],
      ])
    try {
      await state.apply({ set: stored((reason) => reason) })
    } catch (error) {
      if ([...group.values()].every(({ reason }) => reason === null)) throw error
      // The journal refuses text with a secret in it, and what a device says must not end the roll-out of all others.
      await state.apply({ set: stored(() => UNKEPT) })
    }
  }

  return {
    save(devices) {
      for (const [place, device] of devices) waiting.set(place, device)
      // One at a time: the newest state of a device is written last.
      next ??= writing.then(write, write)
      writing = next
      return next
    },
  }
}
