import { Readable } from 'node:stream'
import type { Clock } from '../../core/clock.ts'

/** Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): writing and reading them. */
export const EVENT_STREAM_TYPE = 'text/event-stream'

export interface ServerEvent {
  readonly event: string
  /** What `Last-Event-ID` is to be from here on; absent where nothing can be resumed from it. */
  readonly id?: string
  readonly data: unknown
}

/** One event as text. JSON has no line breaks of its own, so the data is one line. */
export function eventText({ event, id, data }: ServerEvent): string {
  return `event: ${event}\n${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`
}

/** A comment: proxies and clients that hear nothing for long give up. */
const HEARTBEAT = ': waiting\n\n'

/**
 * Events as a stream of text, at the speed of its reader, with a heartbeat while there are none. When the stream is
 * destroyed, because the reader has gone away, the source is ended too.
 */
export function eventStream(source: AsyncGenerator<ServerEvent>, clock: Clock, heartbeatMs: number): Readable {
  async function* frames(): AsyncGenerator<string> {
    try {
      let next = source.next()
      for (;;) {
        const step = await withinBeat(next, clock, heartbeatMs)
        if (step === null) {
          yield HEARTBEAT
          continue
        }
        if (step.done) return
        yield eventText(step.value)
        next = source.next()
      }
    } finally {
      // Not waited for: it ends at its next step.
      source.return(undefined).catch(() => undefined)
    }
  }
  return Readable.from(frames(), { objectMode: false, highWaterMark: 64 * 1024 })
}

async function withinBeat<T>(next: Promise<T>, clock: Clock, ms: number): Promise<T | null> {
  const beat = Promise.withResolvers<null>()
  const cancel = clock.after(ms, () => beat.resolve(null))
  try {
    return await Promise.race([next, beat.promise])
  } finally {
    cancel()
  }
}

/** An event as it came. */
export interface ReceivedEvent {
  readonly event: string
  readonly id: string
  readonly data: string
}

/** Takes a stream of bytes apart into its events. The reverse of `eventText`, for streams of our own. */
export async function* readEvents(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<ReceivedEvent, void, void> {
  const decoder = new TextDecoder()
  let rest = ''
  let id = ''
  for await (const piece of bytes) {
    rest += decoder.decode(piece, { stream: true })
    const blocks = rest.split('\n\n')
    rest = blocks.pop() ?? ''
    for (const block of blocks) {
      const fields = new Map(block.split('\n').map(fieldOf))
      id = fields.get('id') ?? id
      const data = fields.get('data')
      if (data !== undefined) yield { event: fields.get('event') ?? 'message', id, data }
    }
  }
}

function fieldOf(line: string): [name: string, value: string] {
  const at = line.indexOf(':')
  return at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1).replace(/^ /, '')]
}
