import { Socket } from 'node:net'

/**
 * Frees what the socket has read as soon as all of it was copied to where it belongs. Left to the collector, the pieces of
 * 64 KiB of a large download make it walk the whole heap a dozen times for 256 MiB. Only what is known to be of no more
 * use is freed: a piece of which somebody else may keep a view is left alone.
 */

/** What ssh2 decrypts with until keys are exchanged anew: https://github.com/mscdex/ssh2, lib/protocol/crypto.js. */
interface Decipher {
  _onPayload(payload: Buffer): unknown
}

/** While keys are exchanged, messages go elsewhere; afterwards there is another decipher. */
export interface Decrypting {
  readonly _decipher: Decipher
}

export interface Chunks {
  /** Tells that so many bytes of the content of the message at hand were copied. */
  copied(bytes: number): void
  /** Looks at what is decrypted from now on; to be asked again and again. */
  watch(): void
}

/** Type, channel and length of the content of a message. */
const HEAD = 9

const known = new WeakMap<Socket, Chunks>()

/**
 * Those of a connection; undefined where it goes over another one, whose pieces are no memory of their own. ssh2 has to
 * listen to the socket already: it comes first.
 */
export function chunksOf(socket: unknown, protocol: Decrypting): Chunks | undefined {
  if (!(socket instanceof Socket)) return undefined
  const chunks = known.get(socket) ?? createChunks(socket, protocol)
  known.set(socket, chunks)
  return chunks
}

function createChunks(socket: Socket, protocol: Decrypting): Chunks {
  let look: Decipher['_onPayload'] | undefined
  /** Bytes of the message at hand. */
  let copied = 0
  /** Somebody may have been given a part of this piece. */
  let kept = false

  socket.on('data', (chunk: Buffer) => {
    const decipher = protocol._decipher
    if (!kept && decipher._onPayload === look && !holds(decipher, chunk.buffer)) free(chunk)
    kept = false
  })

  return {
    copied(bytes) {
      copied += bytes
    },
    watch() {
      const decipher = protocol._decipher
      if (decipher._onPayload === look) return
      // What was in this piece so far was not seen.
      kept = true
      const onPayload = decipher._onPayload.bind(decipher)
      look = (payload) => {
        copied = 0
        const answer = onPayload(payload)
        if (copied === 0 || copied < payload.length - HEAD) kept = true
        return answer
      }
      decipher._onPayload = look
    },
  }
}

/** Whether it keeps a part of a message whose end is still to come. */
function holds(decipher: Decipher, memory: ArrayBufferLike): boolean {
  return Object.values(decipher).some((value) => ArrayBuffer.isView(value) && value.buffer === memory)
}

/** Only what has memory of its own. */
function free({ buffer, byteLength }: Buffer): void {
  if (buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) buffer.transfer(0)
}
