import type { ClientChannel } from 'ssh2'
import type { OutputSink, OutputStream } from '../../core/context.ts'

/** The channel is read no further while this many bytes wait for the sink. */
const HIGH_BYTES = 256 * 1024
/** What ssh2 may hold of both streams before the window stays shut; its own mark for one stream. */
const WINDOW_BYTES = 2 * 1024 * 1024
/** Pieces that wait together are written together, up to this size. */
const MERGE_BYTES = 128 * 1024

export interface OutputPump {
  /** Resolves when both streams have ended and everything was taken; rejects with what the sink threw. */
  readonly done: Promise<void>
}

/** ssh2's readable sides, with the one method of them that is in no type. */
type Side = NodeJS.ReadableStream & { _read(size: number): void }

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
  const window = boundedWindow(channel)
  const { promise, resolve, reject } = Promise.withResolvers<void>()

  function take(stream: OutputStream, bytes: Buffer): void {
    if (bytes.length === 0 || failed) return
    queue.push({ stream, bytes })
    queued += bytes.length
    if (queued > HIGH_BYTES) window.hold()
    if (!writing) void drain()
  }

  async function drain(): Promise<void> {
    writing = true
    try {
      for (let next = nextPiece(queue); next !== undefined; next = nextPiece(queue)) {
        await sink.write(next.stream, next.bytes)
        queued -= next.bytes.length
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
 * Pausing both streams is not enough: ssh2 keeps one flag for both ("the window waits for a reader"), and each piece of
 * one stream makes Node ask for more of it, which opens the window by its full size for the other as well. A command
 * that writes megabytes on one stream and a little on the other would fill the memory (measured). So asking for more
 * only has an effect while little is held.
 */
function boundedWindow(channel: ClientChannel): { hold(): void; release(): void } {
  const sides = [channel, channel.stderr] as unknown as Side[]
  let held = false
  let asked = false

  function openWindow(): void {
    if (!asked || channel.readableLength + channel.stderr.readableLength >= WINDOW_BYTES) return
    asked = false
    // The method of the prototype: it looks at the flag.
    Object.getPrototypeOf(channel)._read.call(channel, 0)
  }
  for (const side of sides) {
    side._read = () => {
      asked = true
      openWindow()
    }
  }

  return {
    hold() {
      if (held) return
      held = true
      for (const side of sides) side.pause()
    },
    release() {
      openWindow()
      if (!held) return
      held = false
      for (const side of sides) side.resume()
    },
  }
}
