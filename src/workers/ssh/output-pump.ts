import type { ClientChannel } from 'ssh2'
import type { OutputSink, OutputStream } from '../../core/context.ts'

/** The channel is read no further while this many bytes wait for the sink. */
const HIGH_BYTES = 256 * 1024
/** ssh2's window for both streams, and the mark below which it gives back what was used (lib/Channel.js). */
const WINDOW_BYTES = 2 * 1024 * 1024
const HALF_WINDOW = WINDOW_BYTES / 2
/** Far more than any command writes: 2^50 bytes, still exact as a number. */
const NEVER_USED_UP = 2 ** 50
/** Pieces that wait together are written together, up to this size. */
const MERGE_BYTES = 128 * 1024

export interface OutputPump {
  /** Resolves when both streams have ended and everything was taken; rejects with what the sink threw. */
  readonly done: Promise<void>
}

/** The parts of ssh2's channel that are in no type; the version is pinned, and a test measures the effect. */
interface ChannelWindow {
  readonly incoming: { window: number }
  _waitChanDrain: boolean
}

/**
 * Moves what a channel brings into the sink, one write at a time, in the order in which it came. While the sink is
 * slow the channel is not read, its window stays shut, and the command on the other side waits: whatever it writes, a
 * few megabytes are held here.
 *
 * `stderr` may take bytes out of that stream (the report of the start) before the sink sees them.
 */
export function pumpOutput(
  channel: ClientChannel,
  sink: OutputSink,
  stderr: { push(bytes: Buffer): Buffer; end(): Buffer },
): OutputPump {
  const queue: { readonly stream: OutputStream; readonly bytes: Buffer }[] = []
  let queued = 0
  let writing = false
  let open = 2
  let failed = false
  const window = ownWindow(channel, () => queued)
  const { promise, resolve, reject } = Promise.withResolvers<void>()

  function take(stream: OutputStream, bytes: Buffer): void {
    if (bytes.length === 0 || failed) return
    queue.push({ stream, bytes })
    queued += bytes.length
    if (queued > HIGH_BYTES) window.hold()
    window.open()
    if (!writing) void drain()
  }

  async function drain(): Promise<void> {
    writing = true
    try {
      for (let next = nextPiece(queue); next !== undefined; next = nextPiece(queue)) {
        await sink.write(next.stream, next.bytes)
        queued -= next.bytes.length
        window.open()
        if (queued <= HIGH_BYTES / 2) window.release()
      }
      writing = false
      if (open === 0) resolve()
    } catch (error) {
      // What still comes is dropped, so that the channel can end.
      failed = true
      queue.length = 0
      window.release()
      reject(error)
    }
  }

  function closed(): void {
    open -= 1
    if (open === 0 && !writing) resolve()
  }

  channel.on('data', (bytes: Buffer) => take('stdout', bytes))
  channel.stderr.on('data', (bytes: Buffer) => take('stderr', stderr.push(bytes)))
  channel.stderr.once('close', () => {
    take('stderr', stderr.end())
    closed()
  })
  channel.once('close', closed)
  return { done: promise }
}

function nextPiece(queue: { readonly stream: OutputStream; readonly bytes: Buffer }[]) {
  const first = queue.shift()
  if (first === undefined || queue.length === 0) return first
  const pieces = [first.bytes]
  let bytes = first.bytes.length
  for (let next = queue[0]; next !== undefined && next.stream === first.stream; next = queue[0]) {
    bytes += next.bytes.length
    if (bytes > MERGE_BYTES) break
    pieces.push(next.bytes)
    queue.shift()
  }
  return pieces.length === 1 ? first : { stream: first.stream, bytes: Buffer.concat(pieces) }
}

/**
 * Pausing both streams is not enough: ssh2 gives a window of 2 MB anew whenever a piece of either stream finds it half
 * used and that stream's own buffer not full. A command that writes megabytes on one stream and a little on the other
 * would fill the memory (measured: 39 of 40 MB). So ssh2 is made to believe that the window is never used up, and it is
 * opened here, while little is held of both.
 */
function ownWindow(channel: ClientChannel, queued: () => number): { hold(): void; release(): void; open(): void } {
  const inner = channel as unknown as ChannelWindow
  let held = false
  inner.incoming.window += NEVER_USED_UP

  return {
    open() {
      if (inner.incoming.window - NEVER_USED_UP > HALF_WINDOW) return
      if (queued() + channel.readableLength + channel.stderr.readableLength >= WINDOW_BYTES) return
      inner.incoming.window -= NEVER_USED_UP
      // What ssh2 does itself when a full buffer has been read: give back all that was used.
      inner._waitChanDrain = true
      Object.getPrototypeOf(channel)._read.call(channel, 0)
      inner.incoming.window += NEVER_USED_UP
    },
    hold() {
      if (held) return
      held = true
      channel.pause()
      channel.stderr.pause()
    },
    release() {
      if (!held) return
      held = false
      channel.resume()
      channel.stderr.resume()
    },
  }
}
