import type { Clock } from '../../../core/clock.ts'
import type { Logger } from '../../../core/context.ts'
import type { Entry } from './groups.ts'

/** Milliseconds in which an idle connection has to answer whether it is still there. */
const PING_MS = 3_000

export interface ExpiryParts {
  readonly clock: Clock
  readonly log: Logger
  /** It takes nothing new, and is closed when nothing runs on it. */
  retire(entry: Entry): void
  close(entry: Entry): void
  /** The host has answered: the connection may be lent again. */
  answered(entry: Entry): void
}

/** When a connection has had its time. */
export interface Expiry {
  /** Looks after a connection from now on; the returned function ends that. */
  watch(entry: Entry): () => void
  /** Whether it may be lent at `now`; where not, what has to happen has begun. */
  fit(entry: Entry, now: number): boolean
}

export function createExpiry({ clock, log, retire, close, answered }: ExpiryParts): Expiry {
  function ask(entry: Entry): void {
    entry.asked = true
    void entry.connection.ping(PING_MS).then((alive) => {
      entry.asked = false
      if (alive) {
        entry.heardAt = clock.monotonic()
        answered(entry)
      } else if (!entry.closing) {
        log.info('an idle connection did not answer and is dropped', { host: entry.group.host.name })
        close(entry)
      }
    })
  }

  const isOld = ({ group, madeAt }: Entry, now: number) => now - madeAt >= group.call.settings.max_lifetime * 1000
  const isSilent = ({ group, channels, heardAt }: Entry, now: number) =>
    channels === 0 && now - heardAt >= group.call.settings.connection_health_check * 1000

  /** Does what is due, and returns the milliseconds until something may be due again; undefined when nothing will. */
  function look(entry: Entry): number | undefined {
    const { connection_ttl, connection_health_check, max_lifetime } = entry.group.call.settings
    const now = clock.monotonic()
    const idle = entry.channels === 0 && !entry.asked
    if (entry.closing || entry.retired) return undefined
    if (isOld(entry, now) || (idle && now - entry.idleSince >= connection_ttl * 1000)) {
      retire(entry)
      return undefined
    }
    if (idle && isSilent(entry, now)) ask(entry)
    const idleSince = idle ? entry.idleSince : now
    const heardAt = idle && !entry.asked ? entry.heardAt : now
    const next = [
      entry.madeAt + max_lifetime * 1000,
      idleSince + connection_ttl * 1000,
      heardAt + connection_health_check * 1000,
    ]
    // A timer may fire a little before its time.
    return Math.max(1, Math.min(...next) - now)
  }

  return {
    /** Looks again when something could be due, instead of setting a timer anew after every command. */
    watch(entry) {
      let cancel: () => void = () => undefined
      const again = () => {
        const ms = look(entry)
        if (ms !== undefined) cancel = clock.after(ms, again)
      }
      again()
      return () => cancel()
    },
    fit(entry, now) {
      if (isOld(entry, now)) {
        retire(entry)
        return false
      }
      if (!isSilent(entry, now)) return true
      ask(entry)
      return false
    },
  }
}
