import { Duplex } from 'node:stream'
import type { ClientChannel } from 'ssh2'

/**
 * A channel to another host as a stream that ends as a socket does: once, with `close`, and without a word where the
 * connection that carries it broke. ssh2's own channel is no such stream: it says that it has closed only when it was
 * read to its end, and not whether it can still be written to.
 */
export function tunnelStream(channel: ClientChannel): Duplex {
  const stream = new Duplex({
    allowHalfOpen: false,
    read: () => channel.resume(),
    write: (chunk, _encoding, done) => void channel.write(chunk, (error) => done(error)),
    final(done) {
      channel.end()
      done()
    },
    destroy(error, done) {
      channel.removeAllListeners('data')
      // What still comes is dropped: a channel that is not read to its end is never closed.
      channel.resume()
      channel.close()
      done(error)
    },
  })
  channel.on('data', (bytes: Buffer) => {
    if (!stream.push(bytes)) channel.pause()
  })
  const end = () => {
    if (!stream.destroyed && !stream.readableEnded) stream.push(null)
  }
  channel.once('end', end)
  channel.once('close', () => {
    end()
    // Those who read get what has come, and the end, first.
    setImmediate(() => stream.destroy())
  })
  return stream
}
