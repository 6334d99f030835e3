import { createHash } from 'node:crypto'
import { toMhvError } from '../../../core/errors.ts'
import { sftpError } from '../files/sftp-errors.ts'
import { sameAlready } from './compare.ts'
import { badTarget, mismatch } from './errors.ts'
import { CHUNK, eachOf, FILES_AT_ONCE } from './flow.ts'
import { joinRemote, splitRemote } from './names.ts'
import { placeRemote } from './place-remote.ts'
import type { RemoteFiles } from './remote-files.ts'
import { makeRemoteFolders } from './remote-folders.ts'
import { hashRemote } from './remote-hash.ts'
import type { Report } from './report.ts'
import { stageDownload } from './stage-download.ts'
import { isSmall, stageSmallDownload, stageSmallUpload } from './stage-small.ts'
import { stageUpload } from './stage-upload.ts'
import { onceId, tempName } from './temp-name.ts'
import type { Item, Plan, Staged, Transfer } from './types.ts'

/** Files, and bytes, that are verified together: by one process on the host, while the next ones are on their way. */
const SLICE_FILES = 256
const SLICE_BYTES = 64 * 1024 * 1024

/** Brings everything over: folders first, then slice by slice, each verified before any of it gets its name. */
export async function transferAll(transfer: Transfer, plan: Plan, report: Report): Promise<void> {
  for (const skipped of plan.skipped) report.skipped(skipped)
  const files = plan.items.filter(({ kind }) => kind === 'file')
  transfer.meter.total.files = files.length
  transfer.meter.total.bytes = files.reduce((sum, { size }) => sum + size, 0)
  await makeFolders(transfer, plan, report)
  let placing: Promise<void> = Promise.resolve()
  try {
    for (const slice of slicesOf(files)) {
      const staged = await stageSlice(transfer, slice, report)
      // One slice is verified while the next one is on its way, and no more.
      await placing.catch(async (error: unknown) => {
        await discardAll(staged)
        throw error
      })
      placing = placeSlice(transfer, staged, report)
      placing.catch(() => undefined)
    }
    await placing
  } catch (error) {
    await placing.catch(() => undefined)
    throw error
  }
  for (const item of plan.items) if (item.kind === 'symlink') await makeLink(transfer, item, report)
  await report.flush()
}

function* slicesOf(files: readonly Item[]): Generator<readonly Item[]> {
  let slice: Item[] = []
  let bytes = 0
  for (const item of files) {
    slice.push(item)
    bytes += item.size
    if (slice.length < SLICE_FILES && bytes < SLICE_BYTES) continue
    yield slice
    slice = []
    bytes = 0
  }
  if (slice.length > 0) yield slice
}

async function makeFolders(transfer: Transfer, { items }: Plan, report: Report): Promise<void> {
  const { input, lanes } = transfer
  const folders = items.filter(({ kind }) => kind === 'directory')
  if (input.direction === 'upload') {
    await makeRemoteFolders(transfer, lanes[0] as RemoteFiles, items, report.made)
  } else {
    // Opening makes it.
    for (const { folder } of folders) await folder.use(async () => undefined)
  }
  for (const _ of folders) report.folder()
}

/** Brings the content of the files over, under temporary names. All or nothing: what fails takes the others along. */
async function stageSlice(transfer: Transfer, slice: readonly Item[], report: Report): Promise<Staged[]> {
  const { input, lanes, signal } = transfer
  const staged: Staged[] = []
  const left = input.overwrite === 'always' ? new Map<Item, string>() : await sameAlready(transfer, slice)
  const upload = input.direction === 'upload'
  const stage = upload ? stageUpload : stageDownload
  const stageSmall = upload ? stageSmallUpload : stageSmallDownload
  let turn = 0
  try {
    await eachOf(slice, FILES_AT_ONCE, async (item) => {
      signal.throwIfAborted()
      const reason = left.get(item)
      if (reason !== undefined) {
        report.skipped({ local: item.local, remote: item.remote, reason })
        return
      }
      const lane = lanes[turn++ % lanes.length] as RemoteFiles
      const { small } = transfer
      staged.push(
        await (small && isSmall(transfer, item)
          ? stageSmall(transfer, small, item, lane)
          : stage(transfer, item, lane)),
      )
    })
  } catch (error) {
    await discardAll(staged)
    throw error
  }
  return staged
}

function discardAll(staged: readonly Staged[]): Promise<void> {
  return eachOf(staged, FILES_AT_ONCE, (file) => file.discard())
}

/** Verifies the files and gives them their names. A file that does not get its name is removed. */
async function placeSlice(transfer: Transfer, staged: readonly Staged[], report: Report): Promise<void> {
  const { input, signal, meter } = transfer
  const waiting = new Set(staged)
  try {
    if (input.verify === 'sha256') await verifyHashes(transfer, staged)
    await eachOf(staged, FILES_AT_ONCE, async (file) => {
      signal.throwIfAborted()
      const placed = await file.place()
      waiting.delete(file)
      meter.file()
      if (placed) return report.done(file)
      await file.discard()
      report.skipped({ local: file.item.local, remote: file.item.remote, reason: 'the target has come into being' })
    })
  } catch (error) {
    await discardAll([...waiting])
    throw error
  } finally {
    await report.flush()
  }
}

/** Asks the host for the digests of what it has; they must be those of what was sent or received. */
async function verifyHashes(transfer: Transfer, staged: readonly Staged[]): Promise<void> {
  if (staged.length === 0) return
  const { input, ctx, call, readBack, note } = transfer
  const pathOf = ({ temp, item }: Staged) => (input.direction === 'upload' ? temp : item.remote)
  let hashes: readonly string[]
  const answer = readBack ? undefined : await hashRemote(ctx.connection, call, staged.map(pathOf))
  if (answer?.kind === 'failed') {
    const [file] = staged as [Staged]
    throw mismatch(pathOf(file), `the host could not hash what it has: ${answer.said || 'it gave no reason'}`)
  }
  if (answer?.kind === 'hashes') hashes = answer.hashes
  else {
    if (answer?.kind === 'none') note(`${answer.why}: the files were read back to be hashed here`)
    hashes = await hashesByReading(transfer, staged.map(pathOf))
  }
  staged.forEach((file, at) => {
    if (hashes[at] === file.sha256) return
    throw mismatch(file.item.remote, 'the SHA-256 of what the host has is not that of what was transferred')
  })
}

async function hashesByReading(transfer: Transfer, paths: readonly string[]): Promise<string[]> {
  const { lanes, buffers, signal, endpoint } = transfer
  const [remote] = lanes as [RemoteFiles]
  const hashes: string[] = []
  for (const path of paths) {
    const hash = createHash('sha256')
    const buffer = buffers.take()
    try {
      const handle = await remote.open(path, 'r')
      try {
        for (let position = 0, read = -1; read !== 0; position += read) {
          signal.throwIfAborted()
          read = await remote.read(handle, buffer, CHUNK, position)
          hash.update(buffer.subarray(0, read))
        }
      } finally {
        await remote.close(handle)
      }
    } catch (error) {
      throw await sftpError(error, { doing: 'read back', path, endpoint })
    } finally {
      buffers.give(buffer)
    }
    hashes.push(hash.digest('hex'))
  }
  return hashes
}

/** A link is made under a temporary name and renamed, as a file is. */
async function makeLink(transfer: Transfer, item: Item, report: Report): Promise<void> {
  const { input, lanes, endpoint, ctx } = transfer
  const [remote] = lanes as [RemoteFiles]
  const link = item.link ?? ''
  if (input.direction === 'download') {
    const taken = await item.folder.use(async (folder) => {
      const there = await folder.stat(item.name)
      if (there?.kind === 'directory') throw badTarget(item.local, 'is a folder on this machine')
      if (there !== undefined && input.overwrite === 'never') return true
      await folder.link(item.name, link)
      return false
    })
    return taken ? report.skipped({ ...item, reason: 'the target exists' }) : report.linked(item)
  }
  const { folder, name } = splitRemote(item.remote)
  const temp = joinRemote(folder, tempName(name, onceId(ctx.run_id, item.remote)))
  try {
    if (input.overwrite === 'never' && (await remote.lstat(item.remote)) !== undefined)
      return report.skipped({ ...item, reason: 'the target exists' })
    await remote.unlink(temp).catch(() => undefined)
    await remote.symlink(link, temp)
    if (await placeRemote(transfer, remote, temp, item.remote)) return report.linked(item)
    await remote.unlink(temp)
    report.skipped({ ...item, reason: 'the target has come into being' })
  } catch (error) {
    await remote.unlink(temp).catch(() => undefined)
    throw toMhvError(await sftpError(error, { doing: 'make a link at', path: item.remote, endpoint }, remote))
  }
}
