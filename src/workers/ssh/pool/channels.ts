import type { ClientChannel, SFTPWrapper } from 'ssh2'
import type { Clock } from '../../../core/clock.ts'
import { MhvError } from '../../../core/errors.ts'
import type { Lease } from '../pool.ts'
import { createSftpChannel } from '../sftp-channel.ts'
import { type Entry, type Group, isUsable, limitOf } from './groups.ts'
import type { LearntSessions } from './learnt-sessions.ts'

/** Milliseconds in which a channel that has closed may still count for the host, and between questions meanwhile. */
const REAP_MS = 1_000
const REAP_PAUSE_MS = 20
/** Channels opened without a refusal after which one more is tried. */
const RAISE_AFTER = 200

export interface ChannelParts {
  readonly clock: Clock
  readonly learnt: LearntSessions
  /** Whether a connection may be lent now; it may be too old, or its host has to be asked first. */
  fit(entry: Entry, now: number): boolean
  /** A place has become free, or is usable again. */
  freed(entry: Entry): void
  /** There may be room again in the group, without that anything was given back. */
  pump(group: Group): void
  retire(entry: Entry): void
}

/** Who has how many channels on which connection. */
export interface Channels {
  /** The least busy connection with room, the oldest of equals, so that one that is not needed falls idle. */
  free(group: Group): Entry | undefined
  lease(entry: Entry): Lease
  take(entry: Entry): void
  giveBack(entry: Entry): void
}

export function createChannels(parts: ChannelParts): Channels {
  const { clock } = parts

  function giveBack(entry: Entry): void {
    entry.channels -= 1
    entry.idleSince = clock.monotonic()
    entry.heardAt = entry.idleSince
    parts.freed(entry)
  }

  function noteOpened(group: Group): void {
    if (group.learnt === Number.POSITIVE_INFINITY || ++group.opened < RAISE_AFTER) return
    group.opened = 0
    group.learnt += 1
  }

  /**
   * The host had as many sessions as it allows: at most the others here, and those that have just closed. The others are
   * the limit until those are certainly gone. Returns the milliseconds after which asking again makes sense.
   */
  function noteRefused(entry: Entry): number | undefined {
    const { group } = entry
    const now = clock.monotonic()
    const reaped = now - entry.idleSince >= REAP_MS
    const others = Math.max(1, entry.channels)
    if (reaped) group.learnt = Math.min(group.learnt, others)
    else {
      group.learnt = Math.min(group.learnt, others + 1)
      hold(group, others, now)
    }
    group.opened = 0
    parts.learnt.keep(group)
    if (entry.channels > 0) return 0
    return reaped ? undefined : REAP_PAUSE_MS
  }

  function hold(group: Group, limit: number, now: number): void {
    if (group.held === undefined) clock.after(REAP_MS, () => parts.pump(group))
    group.held = { limit, until: now + REAP_MS - 1 }
  }

  /** Returns the milliseconds after which another attempt makes sense, if it does. */
  function noteFailed(entry: Entry, error: unknown, wasAlive: boolean): number | undefined {
    // It was closed in the moment in which it was lent: another one does as well, for nothing was sent.
    if (!wasAlive) return 0

    const code = error instanceof MhvError ? error.code : undefined
    if (code === 'MHV_SSH_CHANNEL_REFUSED' && entry.connection.alive()) return noteRefused(entry)
    // ssh2 leaves the refused channel open and gives no handle to close it.
    if (code === 'MHV_SSH_SHELL_UNSUPPORTED') void entry.connection.close()
    if (code === 'MHV_SSH_SFTP_UNSUPPORTED') parts.retire(entry)
    return undefined
  }

  function lease(entry: Entry): Lease {
    entry.channels += 1
    let retryDelay: number | undefined

    async function open<C extends ClientChannel | SFTPWrapper>(begin: () => Promise<C>): Promise<C> {
      const wasAlive = entry.connection.alive()
      try {
        const channel = await begin()
        channel.once('close', () => giveBack(entry))
        noteOpened(entry.group)
        return channel
      } catch (error) {
        // Not by `giveBack`: nothing was open, so nothing lingers on the host.
        entry.channels -= 1
        retryDelay = noteFailed(entry, error, wasAlive)
        parts.freed(entry)
        throw error
      }
    }

    return {
      connection: entry.connection,
      shell: entry.shell,
      exec: (line) => open(() => entry.connection.exec(line)),
      pty: (request) => open(() => entry.connection.pty(request)),
      sftp: async () => createSftpChannel(await open(() => entry.connection.sftp()), entry.connection),
      release: () => giveBack(entry),
      retryDelay: () => retryDelay,
    }
  }

  return {
    free(group) {
      const now = clock.monotonic()
      const limit = limitOf(group, now)
      let best: Entry | undefined
      for (const entry of group.entries) {
        if (entry.channels >= limit || !isUsable(entry) || (best && best.channels <= entry.channels)) continue
        if (parts.fit(entry, now)) best = entry
      }
      return best
    },
    lease,
    take(entry) {
      entry.channels += 1
    },
    giveBack,
  }
}
