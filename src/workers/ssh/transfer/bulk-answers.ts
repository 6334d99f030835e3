/**
 * Content that a server sends is copied once: from the packet it came in to where somebody wants it. ssh2 gathers each
 * answer in a new buffer first, a quarter of a megabyte for the collector each time. Only answers that begin and are
 * as they should be go this way; all else, and all that is odd, goes through ssh2's own parser, which knows these requests
 * as well as its own.
 */

import type { Chunks } from './bulk-chunks.ts'

/** A request to read, as ssh2 keeps it: https://github.com/mscdex/ssh2, lib/protocol/SFTP.js. */
export interface ReadRequest {
  /** As long as what was asked for; left alone by everybody else until `cb`. */
  readonly buffer: Buffer
  readonly cb: (error: Error | undefined | null, buffer?: Buffer, bytes?: number) => void
}

/** What ssh2's parser keeps between two pieces of its channel. */
export interface Parser {
  readonly outgoing: { readonly state: string }
  readonly _requests: Record<number, object>
  /** Bytes of the length of a packet that have come, the length, and bytes of the packet. */
  readonly _pktLenBytes: number
  readonly _pktLen: number
  readonly _pktPos: number
  push(data: Buffer | null): void
}

export interface BulkAnswers {
  /** Has the answer with this number put into its buffer. */
  expect(id: number, request: ReadRequest): void
}

const DATA = 103
/** Length of the packet, its type, number of the request, length of the content. */
const HEAD = 13

interface Taking {
  readonly id: number
  readonly request: ReadRequest
  readonly bytes: number
  taken: number
}

export function createBulkAnswers(sftp: Parser, chunks: Chunks | undefined): BulkAnswers {
  const ours = new WeakSet<object>()
  const push = sftp.push.bind(sftp)
  /** The answer that is coming in. */
  let taking: Taking | undefined

  /** The answer that begins here, if it is one to take: only its whole head tells. */
  function begin(data: Buffer, at: number): Taking | undefined {
    if (sftp._pktLenBytes !== 0 || data.length - at < HEAD || data[at + 4] !== DATA) return undefined
    const id = data.readUInt32BE(at + 5)
    const bytes = data.readUInt32BE(at + 9)
    const request = sftp._requests[id] as ReadRequest | undefined
    if (request === undefined || !ours.has(request)) return undefined
    const sound = bytes > 0 && bytes <= request.buffer.length && data.readUInt32BE(at) === HEAD - 4 + bytes
    return sound ? { id, request, bytes, taken: 0 } : undefined
  }

  function take(answer: Taking, data: Buffer, at: number): number {
    const { id, request, bytes, taken } = answer
    const copied = data.copy(request.buffer, taken, at, at + bytes - taken)
    answer.taken += copied
    chunks?.copied(copied)
    if (answer.taken === bytes) {
      taking = undefined
      delete sftp._requests[id]
      request.cb(undefined, request.buffer, bytes)
    }
    return copied
  }

  /** Bytes to the end of the packet that ssh2 is at, as far as they are known. */
  function ofPacket(data: Buffer, at: number): number {
    const left = data.length - at
    if (sftp._pktLenBytes === 4) return Math.min(left, sftp._pktLen - sftp._pktPos)
    return sftp._pktLenBytes === 0 && left >= 4 ? Math.min(left, 4 + data.readUInt32BE(at)) : left
  }

  sftp.push = (data) => {
    if (data === null) {
      taking = undefined
      return push(null)
    }
    // What comes after the session was given up is nobody's: its buffers may be in use again.
    for (let at = 0; at < data.length && sftp.outgoing.state === 'open'; ) {
      if (taking === undefined) {
        taking = begin(data, at)
        if (taking !== undefined) {
          at += HEAD
          chunks?.copied(HEAD)
        }
      }
      if (taking !== undefined) {
        at += take(taking, data, at)
        continue
      }
      const bytes = ofPacket(data, at)
      push(data.subarray(at, at + bytes))
      at += bytes
    }
  }

  return {
    expect(id, request) {
      ours.add(request)
      sftp._requests[id] = request
    },
  }
}
