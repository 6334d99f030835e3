import type { Hash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { localError } from '../../../core/local-files.ts'
import { changed } from './errors.ts'
import { CHUNK, createPending, WINDOW } from './flow.ts'
import { writeFd } from './local-fd.ts'
import type { RemoteFacts, RemoteFiles } from './remote-files.ts'
import type { Transfer } from './types.ts'

export interface FetchRequest {
  readonly remote: RemoteFiles
  readonly handle: Buffer
  /** As they were when the file was opened. */
  readonly facts: RemoteFacts
  readonly into: FileHandle
  /** Bytes that are there already, and the digest of them so far. */
  readonly from: number
  readonly hash: Hash | undefined
  /** For messages. */
  readonly path: string
  readonly localPath: string
}

export interface Fetched {
  readonly bytes: number
  readonly sha256: string
}

interface Piece {
  readonly buffer: Buffer
  readonly want: number
  readonly position: number
  readonly answer: Promise<number>
}

/**
 * Receives a remote file from a position to its end. Several requests are in flight; their answers are taken in order,
 * hashed and written beside each other. Throws MHV_SSH_TRANSFER_CHANGED where the file is not the same at its end.
 */
export async function fetchFile(transfer: Transfer, request: FetchRequest): Promise<Fetched> {
  const { remote, handle, facts, from, path } = request
  const size = facts.size
  const asked: Piece[] = []
  const writes = createPending()
  let next = from
  let position = from
  try {
    while (position < size) {
      transfer.signal.throwIfAborted()
      while (next < size && asked.length < WINDOW) {
        const piece = askNext(transfer, request, next, asked.length === 0)
        if (piece === undefined) break
        const made = piece instanceof Promise ? await piece : piece
        asked.push(made)
        next += made.want
      }
      const piece = asked.shift() as Piece
      position += await takePiece(transfer, request, piece, writes)
    }
  } finally {
    // Their buffers are still being filled.
    for (const { answer, buffer, want } of asked) {
      await answer.catch(() => undefined)
      transfer.buffers.give(buffer)
      transfer.budget.give(want)
    }
    await writes.done().catch(() => undefined)
  }
  await writes.done().catch((error: unknown) => {
    throw localError(error, request.localPath)
  })
  const after = await remote.fstat(handle)
  if (after.size !== size || after.mtime !== facts.mtime) {
    throw changed(path, after.size === size ? 'it was written to' : `${size} bytes before, ${after.size} now`)
  }
  return { bytes: position, sha256: request.hash?.digest('hex') ?? '' }
}

/** Asks for the next piece; only the first of a file waits for room, so that files cannot wait for each other. */
function askNext(
  { budget, buffers, pace, signal }: Transfer,
  { remote, handle, facts }: FetchRequest,
  position: number,
  mayWait: boolean,
): Piece | Promise<Piece> | undefined {
  const want = Math.min(CHUNK, facts.size - position)
  const send = (): Piece => {
    const buffer = buffers.take()
    const answer = remote.read(handle, buffer, want, position)
    // It is looked at in its turn.
    answer.catch(() => undefined)
    return { buffer, want, position, answer }
  }
  const room = mayWait ? budget.take(want) : budget.tryTake(want)
  if (room === false) return undefined
  const paced = pace.take(want, signal)
  if (room === undefined && paced === undefined) return send()
  return (async () => {
    if (room instanceof Promise) await room
    try {
      if (paced !== undefined) await paced
      return send()
    } catch (error) {
      budget.give(want)
      throw error
    }
  })()
}

/** Waits for a piece, asks for what is missing of it, and hands it to the disk. */
async function takePiece(
  { budget, buffers, meter }: Transfer,
  { remote, handle, hash, into, path, localPath }: FetchRequest,
  { buffer, want, position, answer }: Piece,
  writes: ReturnType<typeof createPending>,
): Promise<number> {
  const back = () => {
    buffers.give(buffer)
    budget.give(want)
  }
  try {
    let got = await answer
    while (got < want) {
      const more = await remote.read(handle, buffer.subarray(got), want - got, position + got)
      if (more === 0) throw changed(path, 'it is shorter now')
      got += more
    }
    writes.check()
  } catch (error) {
    back()
    throw error
  }
  hash?.update(buffer.subarray(0, want))
  writes.add(
    writeFd(into.fd, buffer, want, position).then(
      () => {
        back()
        meter.bytes(want)
      },
      (error: unknown) => {
        back()
        throw localError(error, localPath)
      },
    ),
  )
  return want
}
