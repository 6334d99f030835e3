import type { ClientChannel, SFTPWrapper } from 'ssh2'
import type { Clock } from '../../../core/clock.ts'
import { MhvError } from '../../../core/errors.ts'
import type { Lease } from '../pool.ts'
import { createSftpChannel } from '../sftp-channel.ts'
import type { Session } from './connection-sessions.ts'
import { type Entry, type Group, isUsable, provenOf } from './groups.ts'

export interface ChannelParts {
  readonly clock: Clock
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
  /** Counts a channel that is opened beside the places; the returned function gives it back. */
  take(entry: Entry): () => void
}

export function createChannels(parts: ChannelParts): Channels {
  const { clock } = parts

  function giveBack(entry: Entry): void {
    entry.channels -= 1
    entry.idleSince = clock.monotonic()
    entry.heardAt = entry.idleSince
    parts.freed(entry)
  }

  /** Returns the milliseconds after which another attempt makes sense, if it does. */
  function noteFailed(entry: Entry, session: Session, error: unknown, wasAlive: boolean): number | undefined {
    const code = error instanceof MhvError ? error.code : undefined
    if (code === 'MHV_SSH_CHANNEL_REFUSED' && wasAlive && entry.connection.alive()) {
      return session.refused(provenOf(entry.group)) ? 0 : undefined
    }
    session.ended()
    // It was closed in the moment in which it was lent: another one does as well, for nothing was sent.
    if (!wasAlive) return 0

    // ssh2 leaves the refused channel open and gives no handle to close it.
    if (code === 'MHV_SSH_SHELL_UNSUPPORTED') void entry.connection.close()
    if (code === 'MHV_SSH_SFTP_UNSUPPORTED') parts.retire(entry)
    return undefined
  }

  function lease(entry: Entry): Lease {
    const { connection } = entry
    const loan = entry.sessions.lend(entry.channels)
    entry.channels += 1
    let retryDelay: number | undefined

    /** `runsOn`: what was started on the channel that has closed may still run. */
    async function open<C extends ClientChannel | SFTPWrapper>(
      begin: () => Promise<C>,
      runsOn: (channel: C) => boolean,
    ): Promise<C> {
      const wasAlive = connection.alive()
      const session = entry.sessions.begin(loan)
      try {
        const channel = await begin()
        channel.once('close', () => {
          session.ended(runsOn(channel))
          giveBack(entry)
        })
        session.opened(channel)
        loan.settle()
        parts.pump(entry.group)
        return channel
      } catch (error) {
        entry.channels -= 1
        retryDelay = noteFailed(entry, session, error, wasAlive)
        loan.settle()
        parts.freed(entry)
        throw error
      }
    }

    // sshd tells the exit status when it has reaped the process.
    const hasNoExit = (channel: ClientChannel) => connection.exitOf(channel) === undefined

    return {
      connection,
      shell: entry.shell,
      exec: (line) => open(() => connection.exec(line), hasNoExit),
      pty: (request) => open(() => connection.pty(request), hasNoExit),
      // An SFTP server has nothing more to do then.
      sftp: async () => {
        const channel = await open(
          () => connection.sftp(),
          () => false,
        )
        return createSftpChannel(channel, connection)
      },
      release() {
        loan.settle()
        giveBack(entry)
      },
      retryDelay: () => retryDelay,
    }
  }

  return {
    free(group) {
      const now = clock.monotonic()
      let best: Entry | undefined
      let attempt: Entry | undefined
      for (const entry of group.entries) {
        const room = isUsable(entry) ? roomOn(entry) : 'no'
        if (room === 'no') continue
        const other = room === 'yes' ? best : attempt
        if ((other && other.channels <= entry.channels) || !parts.fit(entry, now)) continue
        if (room === 'yes') best = entry
        else attempt = entry
      }
      return best ?? attempt
    },
    lease,
    take(entry) {
      entry.channels += 1
      const session = entry.sessions.begin()
      return () => {
        session.ended()
        giveBack(entry)
      }
    },
  }
}

function roomOn(entry: Entry): 'yes' | 'attempt' | 'no' {
  const { max_channels_per_connection } = entry.group.call.settings
  return entry.channels < max_channels_per_connection ? entry.sessions.room(entry.channels) : 'no'
}
