import type { Clock } from '../../../core/clock.ts'
import type { Logger } from '../../../core/context.ts'
import type { Masker } from '../../../core/masker.ts'
import { MIN_SECRET_LENGTH } from '../../../core/secret.ts'
import {
  STREAM_FORMAT,
  type StreamEnd,
  type StreamFrame,
  type StreamNotice,
  type StreamSize,
} from '../../../core/terminal-stream.ts'
import { maskPart } from '../recording/mask.ts'
import { withoutQueries } from '../screen/attached-output.ts'
import type { LiveSession } from '../sessions/live-session.ts'
import { maskedSnapshot } from '../sessions/masked-screen.ts'
import type { PtyOutput } from '../sessions/pty-session.ts'
import { createAttachedInput } from './attached-input.ts'
import { repaint } from './repaint.ts'
import type { StreamPeer } from './stream-server.ts'

/** Bytes that a slow terminal may leave untaken; then it gets the screen as it is once it takes something again. */
const BEHIND_BYTES = 1_048_576
/** What may be the beginning of a secret or of a query is held back for so long, in milliseconds. */
const HOLD_MS = 50
/** How long a notice stands on the screen before the screen is shown again as it is, and how often there may be one. */
const NOTICE_MS = 3_000
const NOTICE_PAUSE_MS = 500

export interface AttachOptions {
  readonly clock: Clock
  readonly log: Logger
  readonly masker: Masker
  readonly signal: AbortSignal
  readonly readOnly: boolean
  /** Is given each line that was typed. */
  onLine(line: string): void
}

export interface AttachOutcome {
  readonly why: StreamEnd['why'] | 'gone'
  /** Bytes that were typed, and those that were not because the session refused them. */
  readonly bytes_in: number
  readonly bytes_refused: number
  readonly bytes_out: number
}

/** Joins somebody's terminal to a session until one of them has had enough. A slow terminal never slows the session. */
export async function attach(session: LiveSession, peer: StreamPeer, options: AttachOptions): Promise<AttachOutcome> {
  const over = Promise.withResolvers<AttachOutcome['why']>()
  const out = createOutput(session, peer, options)
  const parts = { log: options.log, onLine: options.onLine, tell: out.notice }
  const input = options.readOnly ? undefined : createAttachedInput(session, parts)
  const { rows, cols } = session.pty.size()
  peer.send('welcome', {
    format: STREAM_FORMAT,
    session: session.pty.info.id,
    rows,
    cols,
    read_only: options.readOnly,
  })
  // What comes while the screen is looked at is shown after it.
  const unwatch = session.watch(out.push)
  const onAbort = () => over.resolve('cancelled')
  options.signal.addEventListener('abort', onAbort, { once: true })
  if (options.signal.aborted) onAbort()
  void peer.closed.then(() => over.resolve('gone'))
  void session.pty.exited.then(() => over.resolve('exited'))
  try {
    await out.paint()
    // What came before is told at once, and may be nonsense.
    peer.onFrame((kind: StreamFrame, payload) => {
      if (kind === 'detach') over.resolve('detached')
      else if (kind === 'data') input?.type(payload)
      else if (kind === 'resize') input?.resize(sizeOf(payload))
    })
    const why = await over.promise
    out.finish()
    const typed = (await input?.end()) ?? { bytes_in: 0, bytes_refused: 0 }
    if (why !== 'gone') {
      const exit = session.pty.exit()
      const end: StreamEnd = { why, exit_code: exit?.exit_code ?? null, signal: exit?.signal ?? null }
      peer.send('end', end)
    }
    return { why, ...typed, bytes_out: out.bytes() }
  } finally {
    unwatch()
    out.finish()
    options.signal.removeEventListener('abort', onAbort)
    peer.end()
  }
}

/** @throws for what is no size */
function sizeOf(payload: Buffer): StreamSize {
  const { rows, cols } = (JSON.parse(payload.toString('utf8')) ?? {}) as Partial<StreamSize>
  return { rows: Number(rows), cols: Number(cols) }
}

/**
 * - `live`: output goes out as it comes.
 * - `behind`: nothing is sent until the other end has taken what it has.
 * - `looking`: the screen is being looked at; what comes meanwhile follows it.
 */
type OutputState = 'live' | 'behind' | 'looking'

function createOutput(session: LiveSession, peer: StreamPeer, { clock, log, masker }: AttachOptions) {
  let filter = withoutQueries()
  let held: Buffer = Buffer.alloc(0)
  let state: OutputState = 'behind'
  let missed: PtyOutput[] = []
  let missedBytes = 0
  let sent = 0
  let isFinished = false
  let cancelHold: (() => void) | undefined
  let cancelNotice: (() => void) | undefined
  let noticed = Number.NEGATIVE_INFINITY

  function send(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    sent += bytes.length
    peer.send('data', bytes)
  }

  function pass(bytes: Uint8Array, last: boolean): void {
    held = held.length === 0 ? Buffer.from(bytes) : Buffer.concat([held, bytes])
    const { bytes: masked, used } = maskPart(masker, held, { last, least: MIN_SECRET_LENGTH })
    held = held.subarray(used)
    send(masked)
  }

  function flush(): void {
    cancelHold = undefined
    pass(filter.end(), true)
  }

  function live(bytes: Uint8Array): void {
    pass(filter.push(bytes), false)
    cancelHold?.()
    cancelHold = clock.after(HOLD_MS, flush)
  }

  /** Shows the screen as it is, and then what came meanwhile; again where that was too much. */
  async function paint(): Promise<void> {
    let seenTo: number
    do {
      state = 'behind'
      cancelHold?.()
      await peer.drained()
      filter = withoutQueries()
      held = Buffer.alloc(0)
      missed = []
      missedBytes = 0
      state = 'looking'
      const snapshot = await maskedSnapshot(session.screen, masker, { runs: true })
      const modes = await session.screen.modes()
      seenTo = snapshot.offset
      send(Buffer.from(repaint(snapshot, modes)))
    } while (missedBytes > BEHIND_BYTES)
    state = 'live'
    for (const { offset, bytes } of missed.splice(0)) {
      if (offset + bytes.length > seenTo) live(bytes.subarray(Math.max(0, seenTo - offset)))
    }
  }

  function paintAgain(): void {
    paint().catch((error: unknown) => {
      // The screen is gone with its session: that ends the attachment, too.
      log.debug('an attached terminal could not be painted again', { session: session.pty.info.id, error })
    })
  }

  return {
    paint,
    bytes: () => sent,
    push(output: PtyOutput): void {
      if (state === 'looking') {
        missedBytes += output.bytes.length
        if (missedBytes <= BEHIND_BYTES) missed.push(output)
      } else if (state === 'live') {
        if (peer.waiting() > BEHIND_BYTES) paintAgain()
        else live(output.bytes)
      }
    },
    notice(message: string): void {
      const now = clock.monotonic()
      if (isFinished || now - noticed < NOTICE_PAUSE_MS) return
      noticed = now
      peer.send('notice', { message } satisfies StreamNotice)
      cancelNotice?.()
      cancelNotice = clock.after(NOTICE_MS, () => {
        if (state === 'live') paintAgain()
      })
    },
    finish(): void {
      cancelHold?.()
      cancelNotice?.()
      if (!isFinished && state === 'live') flush()
      isFinished = true
    },
  }
}
