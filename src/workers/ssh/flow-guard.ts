import type { Duplex } from 'node:stream'
import type { Client } from 'ssh2'

/**
 * Bytes of a channel, of both its streams, that may wait unread.
 *
 * An honest host sends no more than the window, which is 2 MiB whenever it is opened (MAX_WINDOW in ssh2's
 * lib/Channel.js), and it is opened only while less than 2 MiB wait: by output-pump.ts, and by ssh2 itself where a
 * channel has one stream (a tunnel, a terminal). So nearly 4 MiB may wait at the most, and there is as much again to
 * spare. A channel with two streams of which one is not read has no such bound: such a one must have the pump, or be
 * read without a pause. What is more was sent by a host that keeps to no window; ssh2 looks only whether it is exactly
 * used up, so that such a host would fill the memory.
 */
export const MAX_UNREAD = 8 * 1024 * 1024
/** Bytes that may wait to be sent while the host asks for further answers: it asks, and does not read. */
const MAX_UNSENT = 4 * 1024 * 1024

/** The parts of ssh2's client that are in no type; the version is pinned, and a test measures the effect. */
interface ClientParts {
  readonly _protocol: { readonly _handlers: Record<string, ((...args: unknown[]) => void) | undefined> }
  readonly _chanMgr: { get(id: unknown): Partial<Duplex & { readonly stderr: Duplex }> | undefined }
}

/** Calls back once when the host sends what it may not, or makes us answer without reading. */
export function guardFlow(client: Client, socket: Duplex, violated: (why: string) => void): void {
  const { _protocol: protocol, _chanMgr: channels } = client as unknown as ClientParts
  const handlers = protocol._handlers

  for (const name of ['CHANNEL_DATA', 'CHANNEL_EXTENDED_DATA']) {
    const handle = handlers[name]
    handlers[name] = (...args) => {
      handle?.(...args)
      const channel = channels.get(args[1])
      if ((channel?.readableLength ?? 0) + (channel?.stderr?.readableLength ?? 0) > MAX_UNREAD) {
        violated('the host sent more than it was allowed to')
      }
    }
  }
  for (const name of ['GLOBAL_REQUEST', 'CHANNEL_REQUEST', 'CHANNEL_OPEN']) {
    const handle = handlers[name]
    handlers[name] = (...args) => {
      if (socket.writableLength > MAX_UNSENT) violated('the host asked on and on without reading the answers')
      else handle?.(...args)
    }
  }
}
