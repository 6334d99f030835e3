import type { Clock } from '../../../core/clock.ts'
import type { Masker } from '../../../core/masker.ts'
import { MIN_SECRET_LENGTH } from '../../../core/secret.ts'
import { STREAM_FORMAT, type StreamEnd, type StreamFrame, type StreamSize } from '../../../core/terminal-stream.ts'
import { maskPart } from '../recording/mask.ts'
import { withoutQueries } from '../screen/attached-output.ts'
import type { LiveSession } from '../sessions/live-session.ts'
import { maskRows, maskRuns } from '../sessions/masked-screen.ts'
import { createTypedLines } from '../sessions/typed-lines.ts'
import { repaint } from './repaint.ts'
import type { StreamPeer } from './stream-server.ts'

/** Bytes that a slow terminal may leave untaken; then it gets the screen as it is once it takes something again. */
const BEHIND_BYTES = 1_048_576
/** What may be the beginning of a secret or of a query is held back for so long, in milliseconds. */
const HOLD_MS = 50

export interface AttachOptions {
  readonly clock: Clock
  readonly masker: Masker
  readonly signal: AbortSignal
  readonly readOnly: boolean
  /** Is given each line that was typed. */
  onLine(line: string): void
}

export interface AttachOutcome {
  readonly why: StreamEnd['why'] | 'gone'
  readonly bytes_in: number
  readonly bytes_out: number
}

/** Joins somebody's terminal to a session until one of them has had enough. A slow terminal never slows the session. */
export async function attach(session: LiveSession, peer: StreamPeer, options: AttachOptions): Promise<AttachOutcome> {
  const counts = { bytes_in: 0, bytes_out: 0 }
  const over = Promise.withResolvers<AttachOutcome['why']>()
  const out = createOutput(session, peer, options, counts)
  const input = options.readOnly ? undefined : createInput(session, options, counts)
  const { rows, cols } = session.pty.size()
  peer.send('welcome', {
    format: STREAM_FORMAT,
    session: session.pty.info.id,
    rows,
    cols,
    read_only: options.readOnly,
  })
  await out.paint()
  const unwatch = session.watch(({ bytes }) => out.push(bytes))
  const onAbort = () => over.resolve('cancelled')
  options.signal.addEventListener('abort', onAbort, { once: true })
  if (options.signal.aborted) onAbort()
  void peer.closed.then(() => over.resolve('gone'))
  void session.pty.exited.then(() => over.resolve('exited'))
  try {
    // What came before is told at once, and may be nonsense.
    peer.onFrame((kind: StreamFrame, payload) => {
      if (kind === 'detach') over.resolve('detached')
      else if (kind === 'data') input?.type(payload)
      else if (kind === 'resize') input?.resize(sizeOf(payload))
    })
    const why = await over.promise
    out.finish()
    await input?.end()
    if (why !== 'gone') {
      const exit = session.pty.exit()
      const end: StreamEnd = { why, exit_code: exit?.exit_code ?? null, signal: exit?.signal ?? null }
      peer.send('end', end)
    }
    return { why, ...counts }
  } finally {
    unwatch()
    options.signal.removeEventListener('abort', onAbort)
    peer.end()
  }
}

/** @throws for what is no size */
function sizeOf(payload: Buffer): StreamSize {
  const { rows, cols } = (JSON.parse(payload.toString('utf8')) ?? {}) as Partial<StreamSize>
  return { rows: Number(rows), cols: Number(cols) }
}

function createOutput(
  session: LiveSession,
  peer: StreamPeer,
  { clock, masker }: AttachOptions,
  counts: { bytes_out: number },
) {
  let filter = withoutQueries()
  let held: Buffer = Buffer.alloc(0)
  let behind = false
  let cancel: (() => void) | undefined

  function send(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    counts.bytes_out += bytes.length
    peer.send('data', bytes)
  }

  function pass(bytes: Uint8Array, last: boolean): void {
    held = held.length === 0 ? Buffer.from(bytes) : Buffer.concat([held, bytes])
    const { bytes: masked, used } = maskPart(masker, held, { last, least: MIN_SECRET_LENGTH })
    held = held.subarray(used)
    send(masked)
  }

  function flush(): void {
    cancel = undefined
    pass(filter.end(), true)
  }

  async function paint(): Promise<void> {
    const snapshot = await session.screen.snapshot({ runs: true })
    const lines = maskRows(masker, snapshot.lines)
    const runs = maskRuns(masker, snapshot.runs ?? [])
    send(Buffer.from(repaint({ ...snapshot, lines, runs }, await session.screen.modes())))
  }

  async function catchUp(): Promise<void> {
    await peer.drained()
    filter = withoutQueries()
    held = Buffer.alloc(0)
    await paint()
    behind = false
  }

  return {
    paint,
    push(bytes: Uint8Array): void {
      if (behind) return
      if (peer.waiting() > BEHIND_BYTES) {
        behind = true
        // The screen is gone with its session: that ends the attachment.
        catchUp().catch(() => undefined)
        return
      }
      pass(filter.push(bytes), false)
      cancel?.()
      cancel = clock.after(HOLD_MS, flush)
    },
    finish(): void {
      cancel?.()
      if (!behind) flush()
    },
  }
}

function createInput(session: LiveSession, { onLine }: AttachOptions, counts: { bytes_in: number }) {
  const lines = createTypedLines(onLine)
  let work: Promise<void> = Promise.resolve()
  let hidden = false
  let lineBegins = true

  async function typeNow(bytes: Buffer): Promise<void> {
    const text = bytes.toString('utf8')
    // Asked once a line, before its first character: whoever asks for a password says so before it is typed.
    if (lineBegins && /[^\x00-\x1f\x7f]/.test(text)) {
      hidden = await session.isHidden()
      lineBegins = false
    }
    lines.push(text, hidden)
    await session.type(bytes, hidden ? text.replace(/[^\x00-\x1f\x7f]+/g, '•') : text)
    if (/[\r\n\x03\x04]/.test(text)) {
      lineBegins = true
      hidden = false
    }
  }

  return {
    type(bytes: Buffer): void {
      const copy = Buffer.from(bytes)
      counts.bytes_in += copy.length
      // In order; what the program does not take is what its terminal shows to be missing.
      work = work.then(() => typeNow(copy)).catch(() => undefined)
    },
    resize({ rows, cols }: StreamSize): void {
      if (!(rows >= 1 && rows <= 500 && cols >= 1 && cols <= 1_000)) return
      work = work.then(() => session.resize(Math.floor(rows), Math.floor(cols))).catch(() => undefined)
    },
    async end(): Promise<void> {
      await work
      lines.end()
    },
  }
}
