import type { Socket } from 'node:net'
import type { Clock } from '../../../core/clock.ts'
import { FRAME, frameHeader } from './frames.ts'
import type { HostSession } from './hosted-session.ts'

/** Bytes of one session that are sent before it is the next one's turn. */
const TURN_BYTES = 32_768
/**
 * A session that was sent from a moment ago waits for this many bytes, or for about a millisecond: a terminal gives at
 * most 4 KiB at a time, and each piece costs both processes a call of the kernel. One that was quiet is sent at once.
 */
const BATCH_BYTES = 32_768
const BATCH_MS = 1
const QUIET_MS = 2
/** Bytes that wait in the socket before nothing more is put there: what one session floods is no queue for the others. */
const SOCKET_BYTES = 65_536

/** Sends the output of all sessions to the controller, each in its turn, as far as their windows and the socket allow. */
export interface OutputTurns {
  /** It has output. */
  offer(session: HostSession): void
  /** The socket takes more again. */
  goOn(): void
  forget(session: HostSession): void
  clear(): void
}

/** `socket` is that of the controller, undefined while there is none. */
export function createOutputTurns(socket: () => Socket | undefined, clock: Clock): OutputTurns {
  /** Sessions with output to send, in the order of their turns. */
  const ready = new Set<HostSession>()
  /** Sessions that write much, until they have a batch. */
  const gathering = new Set<HostSession>()
  const lastSent = new WeakMap<HostSession, number>()
  let isSendingSoon = false
  let isGathering = false

  function sendSoon(): void {
    if (isSendingSoon || socket() === undefined) return
    isSendingSoon = true
    setImmediate(send)
  }

  function send(): void {
    isSendingSoon = false
    const to = socket()
    if (to === undefined || to.writableNeedDrain) return
    const now = clock.monotonic()
    to.cork()
    // What is added again on the way is at the end, and has its next turn after the others.
    for (const session of ready) {
      ready.delete(session)
      const { offset, bytes } = session.next(TURN_BYTES)
      if (bytes.length === 0) continue
      lastSent.set(session, now)
      to.write(frameHeader(FRAME.output, session.number, offset, bytes.length))
      to.write(bytes)
      ready.add(session)
      if (to.writableLength >= SOCKET_BYTES) break
    }
    to.uncork()
    // Where the kernel takes all of it at once, nobody says that there is room again.
    if (ready.size > 0 && !to.writableNeedDrain) sendSoon()
  }

  function endGathering(): void {
    isGathering = false
    for (const session of gathering) ready.add(session)
    gathering.clear()
    sendSoon()
  }

  return {
    offer(session) {
      const isQuiet = clock.monotonic() - (lastSent.get(session) ?? 0) > QUIET_MS
      if (isQuiet || session.unsent() >= BATCH_BYTES) {
        gathering.delete(session)
        ready.add(session)
        sendSoon()
        return
      }
      gathering.add(session)
      if (isGathering) return
      isGathering = true
      setTimeout(endGathering, BATCH_MS)
    },
    goOn: sendSoon,
    forget(session) {
      ready.delete(session)
      gathering.delete(session)
    },
    clear() {
      ready.clear()
      gathering.clear()
    },
  }
}
