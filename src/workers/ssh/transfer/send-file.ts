import { createHash, type Hash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { localError } from '../../../core/local-files.ts'
import { HEAD_ROOM } from './bulk-data.ts'
import { changed } from './errors.ts'
import { CHUNK, createPending } from './flow.ts'
import { type LocalFacts, readFd, statFd } from './local-fd.ts'
import type { RemoteFiles } from './remote-files.ts'
import type { Transfer } from './types.ts'

/** What has been sent. */
export interface Sent {
  readonly bytes: number
  /** Of all its bytes, those of an earlier attempt included; empty where nobody asked for it. */
  readonly sha256: string
  readonly facts: LocalFacts
}

export interface SendRequest {
  readonly source: FileHandle
  readonly facts: LocalFacts
  readonly handle: Buffer
  readonly remote: RemoteFiles
  /** Bytes that are there already, and the digest of them so far. */
  readonly from: number
  readonly hash: Hash | undefined
  /** For messages. */
  readonly path: string
}

/**
 * Sends a local file from a position to its end, several requests in flight, in their order: what a broken transfer
 * leaves is then a beginning of the file and has no holes.
 *
 * Throws MHV_SSH_TRANSFER_CHANGED where the file is not the same at its end, and what the server and the disk say.
 */
export async function sendFile(transfer: Transfer, request: SendRequest): Promise<Sent> {
  const { budget, buffers, meter, pace, signal } = transfer
  const { source, facts, handle, remote, from, hash, path } = request
  const pending = createPending()
  let position = from
  /** The disk reads the next piece while this one is hashed and encrypted. */
  let ahead = readAhead(transfer, request, position)
  try {
    while (ahead !== undefined) {
      signal.throwIfAborted()
      pending.check()
      const { buffer, want, answer } = ahead
      const room = budget.take(want)
      if (room !== undefined) await room
      try {
        pending.check()
        const wait = pace.take(want, signal)
        if (wait !== undefined) await wait
        if ((await answer) < want) throw changed(path, 'it is shorter now')
      } catch (error) {
        budget.give(want)
        throw error
      }
      ahead = readAhead(transfer, request, position + want)
      hash?.update(buffer.subarray(HEAD_ROOM, HEAD_ROOM + want))
      const answered = remote.writeBulk(handle, buffer, want, position).finally(() => {
        buffers.give(buffer)
        budget.give(want)
      })
      pending.add(answered.then(() => meter.bytes(want)))
      position += want
    }
  } finally {
    // Whoever fails must not leave requests behind that write after the file was given up, nor a buffer that is read into.
    if (ahead !== undefined) {
      const { buffer, answer } = ahead
      await answer.catch(() => undefined)
      buffers.give(buffer)
    }
    await pending.done().catch(() => undefined)
  }
  await pending.done()
  const after = await statFd(source.fd)
  if (after.size !== facts.size || after.mtimeMs !== facts.mtimeMs) {
    throw changed(
      path,
      after.size === facts.size ? 'it was written to' : `${facts.size} bytes before, ${after.size} now`,
    )
  }
  return { bytes: position, sha256: hash?.digest('hex') ?? '', facts: after }
}

interface Ahead {
  readonly buffer: Buffer
  readonly want: number
  readonly answer: Promise<number>
}

function readAhead(
  { buffers }: Transfer,
  { source, facts: { size }, path }: SendRequest,
  position: number,
): Ahead | undefined {
  if (position >= size) return undefined
  const buffer = buffers.take()
  const want = Math.min(CHUNK, size - position)
  // The far side is not to blame for it.
  const answer = readFd(source.fd, buffer.subarray(HEAD_ROOM), want, position).catch((error: unknown) => {
    throw localError(error, path)
  })
  // It is looked at in its turn.
  answer.catch(() => undefined)
  return { buffer, want, answer }
}

/** The digest of the first bytes of a local file, to go on from. Undefined where it has fewer. */
export async function hashBeginning(transfer: Transfer, source: FileHandle, bytes: number): Promise<Hash | undefined> {
  const hash = createHash('sha256')
  const buffer = transfer.buffers.take()
  try {
    for (let position = 0; position < bytes; ) {
      transfer.signal.throwIfAborted()
      const read = await readFd(source.fd, buffer, Math.min(CHUNK, bytes - position), position)
      if (read === 0) return undefined
      hash.update(buffer.subarray(0, read))
      position += read
    }
    return hash
  } finally {
    transfer.buffers.give(buffer)
  }
}
