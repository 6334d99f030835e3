import type { WorkerContext } from '../../../core/context.ts'
import { type Group, provenOf } from './groups.ts'

/** Seconds after which what was learnt is forgotten, so that a host that was changed is noticed. */
const REMEMBERED_SECONDS = 24 * 3_600
const PREFIX = 'max_sessions:'
/** Milliseconds until a number is written: a burst of refusals lowers it several times. */
const SETTLE_MS = 500

/** How many channels hosts allow on a connection (MaxSessions), kept over restarts in the worker's state. */
export interface LearntSessions {
  /** Gives the group what is known of its host; call it before a connection is made. */
  recall(group: Group): Promise<void>
  /** The group's number has changed. */
  keep(group: Group): void
  /** Writes what is not written yet. */
  flush(): Promise<void>
}

interface Learnt {
  readonly sessions: number
  /** Milliseconds since the epoch. */
  readonly at: number
}

export function createLearntSessions({
  state,
  clock,
  log,
}: Pick<WorkerContext, 'state' | 'clock' | 'log'>): LearntSessions {
  const known = new Map<string, Learnt>()
  const unwritten = new Set<string>()
  let loading: Promise<void> | undefined
  let cancelWriting: (() => void) | undefined

  const fresh = ({ at }: Learnt) => clock.now() - at < REMEMBERED_SECONDS * 1000 && at <= clock.now()

  async function load(): Promise<void> {
    for (const { key, value } of await state.list(PREFIX)) {
      const learnt = asLearnt(value)
      if (learnt && fresh(learnt)) known.set(key, learnt)
      else await state.delete(key)
    }
  }

  async function write(): Promise<void> {
    cancelWriting?.()
    cancelWriting = undefined
    const keys = [...unwritten]
    unwritten.clear()
    for (const key of keys) await state.set(key, known.get(key))
  }

  /** What cannot be remembered is learnt again: no reason to fail anybody's command. */
  function unkept(error: unknown): void {
    log.warn('what was learnt of a host could not be kept', { error: error instanceof Error ? error.message : '' })
  }

  return {
    async recall(group) {
      loading ??= load().catch(unkept)
      await loading
      const learnt = known.get(keyOf(group))
      if (learnt === undefined) return
      if (fresh(learnt)) {
        const sessions = Math.max(learnt.sessions, provenOf(group))
        if (sessions < group.sessions.learnt()) group.sessions.lower(sessions)
      } else {
        known.delete(keyOf(group))
        group.sessions.forget()
      }
    },
    keep(group) {
      const key = keyOf(group)
      const sessions = group.sessions.learnt()
      if (known.get(key)?.sessions === sessions) return
      known.set(key, { sessions, at: clock.now() })
      unwritten.add(key)
      cancelWriting ??= clock.after(SETTLE_MS, () => void write().catch(unkept))
    },
    flush: () => write().catch(unkept),
  }
}

/** By user too: sshd may have it in a Match block. */
function keyOf({ host, user }: Group): string {
  return `${PREFIX}${user}@${host.name}`
}

function asLearnt(value: unknown): Learnt | undefined {
  if (typeof value !== 'object' || value === null || !('sessions' in value) || !('at' in value)) return undefined
  const { sessions, at } = value
  if (typeof sessions !== 'number' || !Number.isInteger(sessions) || sessions < 1) return undefined
  return typeof at === 'number' ? { sessions, at } : undefined
}
