import { join } from 'node:path'
import { localError } from '../../../core/local-files.ts'
import { sftpError } from '../files/sftp-errors.ts'
import { badTarget, changed } from './errors.ts'
import { closeFd, syncFd } from './local-fd.ts'
import type { RemoteFiles } from './remote-files.ts'
import { SMALL, type SmallFiles } from './small-files.ts'
import { stageDownload } from './stage-download.ts'
import { sendWhole, stageUpload } from './stage-upload.ts'
import { onceId, tempName } from './temp-name.ts'
import type { Item, Staged, Transfer } from './types.ts'

/** Files that are small enough to be one request; those to be resumed go the other way, which has parts. */
export function isSmall({ input }: Transfer, { size }: Item): boolean {
  return size <= SMALL && !input.resume
}

/** Sends a small file: read by the thread, in one piece, with all its requests on their way at once. */
export async function stageSmallUpload(
  transfer: Transfer,
  small: SmallFiles,
  item: Item,
  remote: RemoteFiles,
): Promise<Staged> {
  const { input, pace, signal } = transfer
  const began = transfer.ctx.clock.monotonic()
  const file = await item.folder.use((folder) =>
    small.read({ path: folder.way(item.name), hash: input.verify === 'sha256' }).catch((error: unknown) => {
      throw localError(error, item.local)
    }),
  )
  // It has grown since it was listed, or is no plain file.
  if (file.bytes === undefined) return stageUpload(transfer, item, remote)
  if (file.changed) throw changed(item.local, 'it was written to')
  const wait = pace.take(file.size, signal)
  if (wait !== undefined) await wait
  return sendWhole(transfer, item, remote, { ...file, bytes: file.bytes, began })
}

/** Receives a small file in one piece, and has it written by the thread. */
export async function stageSmallDownload(
  transfer: Transfer,
  small: SmallFiles,
  item: Item,
  remote: RemoteFiles,
): Promise<Staged> {
  const { input, buffers, pace, signal, meter, ctx, durable } = transfer
  const began = ctx.clock.monotonic()
  const wait = pace.take(item.size, signal)
  if (wait !== undefined) await wait
  const buffer = buffers.take()
  try {
    const bytes = await readWhole(transfer, item, remote, buffer)
    // Not as it was listed: it is looked at again, with a beginning and an end.
    if (bytes === undefined) return await stageDownload(transfer, item, remote)
    const temp = tempName(item.name, onceId(ctx.run_id, item.local))
    const mode = input.preserve_mode && item.mode !== undefined ? item.mode & 0o777 : 0o666 & ~process.umask()
    const mtime = input.preserve_mtime ? item.mtime : undefined
    const localPath = join(item.folder.path, item.name)
    const failed = (error: unknown) => {
      throw localError(error, localPath)
    }
    const sha256 = await item.folder.use(async (folder) => {
      const task = { path: folder.way(temp), bytes, mode, mtime, hash: input.verify === 'sha256', open: durable }
      const again = async (error: unknown) => {
        if ((await folder.stat(temp)) === undefined) throw error
        await folder.remove(temp)
        return small.write(task)
      }
      const written = await small.write(task).catch(again).catch(failed)
      if (written.fd !== undefined) {
        const { fd } = written
        await syncFd(fd)
          .finally(() => closeFd(fd))
          .catch(async (error: unknown) => {
            await folder.remove(temp).catch(() => undefined)
            failed(error)
          })
      }
      return written.sha256
    })
    meter.bytes(bytes.length)
    return {
      item,
      temp,
      bytes: bytes.length,
      sha256,
      resumedFrom: 0,
      began,
      discard: () => item.folder.use((folder) => folder.remove(temp)).catch(() => undefined),
      place: () => item.folder.use((folder) => placeSmall(transfer, small, folder, temp, item)),
    }
  } finally {
    buffers.give(buffer)
  }
}

type Folder = Parameters<Parameters<Item['folder']['use']>[0]>[0]

async function placeSmall(
  { input }: Transfer,
  small: SmallFiles,
  folder: Folder,
  temp: string,
  item: Item,
): Promise<boolean> {
  if (input.overwrite === 'never') return folder.placeNew(temp, item.name)
  await small.rename({ from: folder.way(temp), to: folder.way(item.name) }).catch(async (error: unknown) => {
    if ((await folder.stat(item.name))?.kind === 'directory') throw badTarget(item.local, 'is a folder on this machine')
    throw localError(error, item.local)
  })
  return true
}

/** All bytes of a file that is as it was listed; undefined where it is not. */
async function readWhole(
  { endpoint }: Transfer,
  item: Item,
  remote: RemoteFiles,
  buffer: Buffer,
): Promise<Uint8Array | undefined> {
  try {
    const handle = await remote.open(item.remote, 'r')
    // A server answers in order, so the facts are those of after the reading.
    const [read, facts] = await Promise.all([
      remote.read(handle, buffer, item.size + 1, 0),
      remote.fstat(handle),
      remote.close(handle),
    ])
    const same = facts.kind === 'file' && facts.size === item.size && facts.mtime === item.mtime && read === item.size
    return same ? Uint8Array.prototype.slice.call(buffer, 0, read) : undefined
  } catch (error) {
    throw await sftpError(error, { doing: 'read', path: item.remote, endpoint })
  }
}
