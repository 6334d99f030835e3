import type { Clock } from '../../../core/clock.ts'
import { type Entry, type Group, isHost } from './groups.ts'
import type { Growth } from './growth.ts'

export interface DrainRequest {
  /** `host:port`, or the host with all its ports; all hosts without it. */
  readonly host: string | undefined
  /** Milliseconds for what runs there. */
  readonly waitMs: number
  /** Close them then, whatever runs there. */
  readonly force: boolean
  readonly signal: AbortSignal
}

export interface DrainResult {
  /** Connections that were closed when nothing ran on them any more. */
  readonly closed: number
  /** Connections that were closed while something ran there. */
  readonly cut: number
  /** Connections that still wait for the end of what runs there; they take nothing new. */
  readonly left: number
  /** Channels open on those. */
  readonly running: number
}

export async function drain(
  { host, waitMs, force, signal }: DrainRequest,
  groups: Iterable<Group>,
  growth: Pick<Growth, 'retire' | 'renew' | 'close'>,
  clock: Clock,
): Promise<DrainResult> {
  signal.throwIfAborted()
  const drained = [...groups].filter((group) => host === undefined || isHost(group, host))
  const entries = drained.flatMap((group) => [...group.entries])
  const gone = new Set<Entry>()
  const ends = entries.map((entry) => entry.connection.gone.then(() => gone.add(entry)))
  for (const entry of entries) growth.retire(entry)
  for (const group of drained) growth.renew(group)
  await before(Promise.all(ends), clock, waitMs, signal)
  const busy = entries.filter((entry) => !gone.has(entry))
  if (!force) {
    const running = busy.reduce((sum, { channels }) => sum + channels, 0)
    return { closed: gone.size, cut: 0, left: busy.length, running }
  }
  const closed = gone.size
  for (const entry of busy) growth.close(entry)
  await Promise.all(ends)
  return { closed, cut: busy.length, left: 0, running: 0 }
}

/** Waits for something, but only so long, and rejects with the signal's reason when it is aborted. */
async function before(done: Promise<unknown>, clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const cancel = clock.after(ms, resolve)
  const onAbort = () => reject(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await Promise.race([done, promise])
  } finally {
    cancel()
    signal.removeEventListener('abort', onAbort)
  }
}
