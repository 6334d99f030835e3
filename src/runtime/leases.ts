import type { Clock } from '../core/clock.ts'
import { MhvError } from '../core/errors.ts'
import type { Store } from '../store/store.ts'

/**
 * The process's lease on its instance folder. Every write to the journal that it takes renews the lease, since the
 * journal refuses writes of a process whose fence is not the last one. Whoever is about to act with a lease that is
 * older than `LEASE_MS` asks the journal first: a process that was stalled (stopped, swapped out, suspended) while
 * another one took its runs over finds out before it acts, not afterwards.
 */
export interface Lease {
  /** Resolves when this process may act now. Throws MHV_INSTANCE_FENCED, or what keeps the journal from answering. */
  confirm(): Promise<void>
  /** The error that ended it; null while it holds. */
  lost(): MhvError | null
  /** Calls back once, when it is found to be lost. */
  onLost(listener: (error: MhvError) => void): void
}

/** Milliseconds that one answer of the journal counts. Short beside the time that breaking a lock takes. */
const LEASE_MS = 1_000

/** The journal, whose answers renew the lease, and the lease. */
export function withLease(store: Store, clock: Clock): { readonly store: Store; readonly lease: Lease } {
  const listeners: ((error: MhvError) => void)[] = []
  let heldAt = clock.monotonic()
  let lost: MhvError | null = null

  function found(error: unknown): void {
    if (lost !== null || !(error instanceof MhvError) || error.code !== 'MHV_INSTANCE_FENCED') return
    lost = error
    for (const listener of listeners) listener(error)
  }

  /** It holds from before the write was sent: what happened since is not known. */
  async function renewing<T>(write: () => Promise<T>): Promise<T> {
    const sentAt = clock.monotonic()
    try {
      const answer = await write()
      heldAt = Math.max(heldAt, sentAt)
      return answer
    } catch (error) {
      found(error)
      throw error
    }
  }

  const renewed: Store = {
    ...store,
    createRun: (run) => renewing(() => store.createRun(run)),
    changeRun: (change) => renewing(() => store.changeRun(change)),
    adoptRun: (adoption) => renewing(() => store.adoptRun(adoption)),
    assertOwner: () => renewing(() => store.assertOwner()),
  }
  return {
    store: renewed,
    lease: {
      async confirm() {
        if (lost !== null) throw lost
        if (clock.monotonic() - heldAt > LEASE_MS) await renewed.assertOwner()
      },
      lost: () => lost,
      onLost: (listener) => void listeners.push(listener),
    },
  }
}
