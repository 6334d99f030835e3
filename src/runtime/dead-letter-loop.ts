import type { DeadLetterStats } from '../store/dead-letter.ts'
import type { DeadLetters } from './dead-letters.ts'
import type { RuntimeParts } from './runtime.ts'

/** How often to look, in milliseconds: where letters are replayed by themselves, and where they are not. */
const LOOK_MS = 1_000
const IDLE_LOOK_MS = 30_000
/** How often old letters are removed, and how many at once. */
const RETENTION_MS = 3_600_000
const RETENTION_CHUNK = 500

const DAY_MS = 86_400_000

export interface DeadLetterLoop {
  stop(): void
}

/**
 * What is done about dead letters while nobody asks: claims that a crash left are settled, due letters are replayed, old
 * ones that are done with are removed, and somebody is told when letters had to go for want of room. Does not keep the
 * process alive.
 */
export function startDeadLetterLoop(parts: RuntimeParts, letters: DeadLetters): DeadLetterLoop {
  const { clock, log, store, environment, registry } = parts
  const automatic = registry.workers.some(({ name }) => environment.deadLetters(name).policy !== 'never')
  const pause = automatic ? LOOK_MS : IDLE_LOOK_MS
  let retainedAt = Number.NEGATIVE_INFINITY
  let before: DeadLetterStats | undefined
  let stopped = false
  let cancel = () => {}

  async function look(): Promise<void> {
    await letters.settleLeft()
    await letters.replayDue()
    if (clock.monotonic() - retainedAt >= RETENTION_MS) {
      retainedAt = clock.monotonic()
      await removeOld(parts)
    }
    const stats = await store.deadLetterStats()
    if (before !== undefined) tellLosses(parts, before, stats)
    before = stats
  }

  function again(): void {
    if (stopped) return
    cancel = clock.after(pause, () => {
      look()
        .catch((error: unknown) => {
          // The journal is closed then.
          if (!stopped) log.error('dead letters could not be looked at', { error })
        })
        .finally(again)
    })
  }

  again()
  return {
    stop() {
      stopped = true
      cancel()
    },
  }
}

/** Letters that are done with go when their time is over; open ones stay until somebody, or the limit, removes them. */
async function removeOld({ store, clock, environment, registry, log }: RuntimeParts): Promise<void> {
  const [worker] = registry.workers
  if (worker === undefined) return
  const before = clock.now() - environment.deadLetters(worker.name).retention_days * DAY_MS
  const state = ['replayed', 'archived', 'poison'] as const
  let removed = 0
  for (let count = RETENTION_CHUNK; count === RETENTION_CHUNK; removed += count) {
    count = await store.deleteDeadLetters({ state, before }, RETENTION_CHUNK)
  }
  if (removed > 0) log.info('old dead letters were removed', { removed })
}

function tellLosses({ notifier, log }: RuntimeParts, before: DeadLetterStats, now: DeadLetterStats): void {
  const dropped = now.dropped - before.dropped
  const rejected = now.rejected - before.rejected
  if (dropped <= 0 && rejected <= 0) return
  const facts = { dropped, rejected, count: now.count, bytes: now.bytes }
  log.error('dead letters were lost for want of room', facts)
  notifier.notify({
    kind: 'dead_letters_lost',
    severity: 'critical',
    title: `${dropped + rejected} dead letters were lost for want of room`,
    body: 'Replay, archive or purge some (`mahavishnu dlq stats`), or raise dead_letters.max_count and max_bytes.',
    facts,
    dedupe_key: 'dead_letters_lost',
  })
}
