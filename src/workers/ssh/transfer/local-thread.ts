import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { type MessagePort, parentPort } from 'node:worker_threads'

/**
 * A thread that reads, writes and renames small files. One call of `fs` by callback costs the main thread more than
 * all that is done for a small file here, and a disk that hangs holds up nobody but this thread. Paths lead through
 * descriptors of folders that the main thread has opened below the roots.
 */

export interface ReadTask {
  readonly kind: 'read'
  readonly path: string
  /** A larger file is not read, nor one that has content though its size is 0. */
  readonly max: number
  readonly hash: boolean
}

export interface WriteTask {
  readonly kind: 'write'
  readonly path: string
  readonly bytes: Uint8Array
  readonly mode: number
  /** Seconds since the epoch. */
  readonly mtime: number | undefined
  readonly hash: boolean
  /** Leaves the file open, for whoever syncs it. */
  readonly open: boolean
}

export interface RenameTask {
  readonly kind: 'rename'
  readonly from: string
  readonly to: string
}

export type Task = ReadTask | WriteTask | RenameTask

/** What a small file is. `bytes` is undefined where it was not read: it is too large, or is no plain file. */
export interface SmallFile {
  readonly bytes: Uint8Array | undefined
  readonly sha256: string
  readonly size: number
  readonly mode: number
  readonly mtimeMs: number
  /** It was written to while it was read. */
  readonly changed: boolean
}

export interface Written {
  readonly sha256: string
  readonly fd: number | undefined
}

export type Answer =
  | { readonly value: SmallFile | Written | undefined }
  | { readonly code: string; readonly message: string }

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = fs.constants
const digest = (bytes: Uint8Array, wanted: boolean) => (wanted ? createHash('sha256').update(bytes).digest('hex') : '')

function read({ path, max, hash }: ReadTask): SmallFile {
  // A pipe without a writer would hold an open without O_NONBLOCK for ever.
  const fd = fs.openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    const facts = fs.fstatSync(fd)
    const { size, mtimeMs } = facts
    const known = { size, mtimeMs, mode: facts.mode & 0o7777 }
    const falselyEmpty = size === 0 && fs.readSync(fd, Buffer.alloc(1), 0, 1, 0) > 0
    if (!facts.isFile() || size > max || falselyEmpty) return { ...known, bytes: undefined, sha256: '', changed: false }
    const bytes = new Uint8Array(size)
    let got = 0
    for (let more = -1; got < size && more !== 0; got += more) more = fs.readSync(fd, bytes, got, size - got, got)
    const after = fs.fstatSync(fd)
    const changed = got < size || after.size !== size || after.mtimeMs !== mtimeMs
    return { ...known, bytes, sha256: digest(bytes, hash), changed }
  } finally {
    fs.closeSync(fd)
  }
}

function write({ path, bytes, mode, mtime, hash, open }: WriteTask): Written {
  const fd = fs.openSync(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  let closed = false
  try {
    for (let at = 0; at < bytes.length; ) at += fs.writeSync(fd, bytes, at, bytes.length - at, at)
    if (mode !== 0o600) fs.fchmodSync(fd, mode)
    if (mtime !== undefined) fs.futimesSync(fd, mtime, mtime)
    if (!open) {
      // A disk may say only now that it is full or broken. The descriptor is given up even so.
      closed = true
      fs.closeSync(fd)
    }
  } catch (error) {
    if (!closed) anyway(() => fs.closeSync(fd))
    anyway(() => fs.unlinkSync(path))
    throw error
  }
  return { sha256: digest(bytes, hash), fd: open ? fd : undefined }
}

/** What matters is the error that led here, not another one on the way out. */
function anyway(act: () => void): void {
  try {
    act()
  } catch {
    // A name that stays is known for what an unfinished transfer has left.
  }
}

/** Does one task; a failure is an answer as well. */
export function perform(task: Task): Answer {
  try {
    if (task.kind === 'read') return { value: read(task) }
    if (task.kind === 'write') return { value: write(task) }
    fs.renameSync(task.from, task.to)
    return { value: undefined }
  } catch (error) {
    const { code = 'EIO', message } = error as NodeJS.ErrnoException
    return { code, message }
  }
}

function serve(port: MessagePort): void {
  port.on('message', (tasks: readonly Task[]) => {
    const answers = tasks.map(perform)
    const moved = answers.flatMap((answer) =>
      'value' in answer && answer.value !== undefined && 'bytes' in answer.value && answer.value.bytes !== undefined
        ? [answer.value.bytes.buffer as ArrayBuffer]
        : [],
    )
    port.postMessage(answers, moved)
  })
}

if (parentPort !== null) serve(parentPort)
