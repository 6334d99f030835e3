import { createHash, type Hash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { type LocalFolder, localError } from '../../../core/local-files.ts'
import { sftpError } from '../files/sftp-errors.ts'
import { claimPart, type PartClaim, withClaim } from './claim-part.ts'
import { badSource, badTarget, notEmpty } from './errors.ts'
import { fetchFile } from './fetch-file.ts'
import { chmodFd, statFd, syncFd, touchFd, truncateFd } from './local-fd.ts'
import type { RemoteFacts, RemoteFiles } from './remote-files.ts'
import { hashRemotePrefix } from './remote-hash.ts'
import { hashBeginning } from './send-file.ts'
import { tempName } from './temp-name.ts'
import type { Item, Staged, Transfer } from './types.ts'

interface Opened {
  readonly into: FileHandle
  readonly from: number
  readonly hash: Hash | undefined
}

/** Receives one file under its temporary name. Whatever fails, nothing of it is left, unless it is to be resumed. */
export async function stageDownload(transfer: Transfer, item: Item, remote: RemoteFiles): Promise<Staged> {
  const began = transfer.ctx.clock.monotonic()
  const handle = await remote.open(item.remote, 'r').catch(async (error: unknown) => {
    throw await sftpError(error, { doing: 'read', path: item.remote, endpoint: transfer.endpoint })
  })
  try {
    const facts = await remote.fstat(handle)
    if (facts.kind !== 'file') throw badSource(item.remote, 'is no regular file any more')
    if (facts.size === 0 && (await remote.read(handle, Buffer.alloc(1), 1, 0)) > 0) throw notEmpty(item.remote)
    const { size, mtime } = facts
    const claim = claimPart(transfer, { source: item.remote, size, mtime, target: item.local })
    try {
      const receive = (folder: LocalFolder) => stage(transfer, item, remote, handle, facts, folder, claim, began)
      return withClaim(await item.folder.use(receive), claim)
    } catch (error) {
      claim.release()
      throw error
    }
  } catch (error) {
    throw await sftpError(error, { doing: 'read', path: item.remote, endpoint: transfer.endpoint })
  } finally {
    await remote.close(handle).catch(() => undefined)
  }
}

async function stage(
  transfer: Transfer,
  item: Item,
  remote: RemoteFiles,
  handle: Buffer,
  facts: RemoteFacts,
  folder: LocalFolder,
  claim: PartClaim,
  began: number,
): Promise<Staged> {
  const temp = tempName(item.name, claim.id)
  const localPath = join(item.folder.path, item.name)
  const opened = await openTemp(transfer, item, facts, folder, temp, claim)
  const { into, from, hash } = opened
  try {
    transfer.meter.bytes(from)
    const got = await fetchFile(transfer, { remote, handle, facts, into, from, hash, path: item.remote, localPath })
    // A disk may say only at the end that it is full or broken.
    await finish(transfer, into, facts)
      .then(() => into.close())
      .catch((error: unknown) => {
        throw localError(error, localPath)
      })
    return {
      item,
      temp,
      bytes: got.bytes,
      sha256: got.sha256,
      resumedFrom: from,
      began,
      discard: () => item.folder.use((again) => again.remove(temp)).catch(() => undefined),
      place: () => item.folder.use((again) => placeLocal(transfer, again, temp, item.name)),
    }
  } catch (error) {
    await into.close().catch(() => undefined)
    const known = error instanceof Error && 'code' in error ? error.code : undefined
    if (!claim.resumes || known === 'MHV_SSH_TRANSFER_CHANGED') await folder.remove(temp).catch(() => undefined)
    throw error
  }
}

async function openTemp(
  transfer: Transfer,
  item: Item,
  facts: RemoteFacts,
  folder: LocalFolder,
  temp: string,
  claim: PartClaim,
): Promise<Opened> {
  const { input } = transfer
  if (claim.resumes && (await folder.stat(temp))?.kind === 'file') {
    const kept = await openKept(transfer, item, facts, folder, temp)
    if (kept !== undefined) return kept
  }
  const hash = input.verify === 'sha256' ? createHash('sha256') : undefined
  const create = () => folder.create(temp)
  // Whatever is there under this name, an attempt of ours has left it.
  const again = async (error: unknown) => {
    if ((await folder.stat(temp)) === undefined) throw error
    await folder.remove(temp)
    return create()
  }
  return { into: await create().catch(again), from: 0, hash }
}

async function openKept(
  transfer: Transfer,
  item: Item,
  facts: RemoteFacts,
  folder: LocalFolder,
  temp: string,
): Promise<Opened | undefined> {
  const into = await folder.create(temp, true)
  // Its name can be foretold: a file that somebody else put there would stay theirs, and open to them.
  if ((await into.stat()).uid !== process.geteuid?.()) {
    await into.close()
    return undefined
  }
  try {
    return await goOn(transfer, item, facts, into)
  } catch (error) {
    await into.close()
    throw error
  }
}

/** Behind what is there, where it is the beginning of the file; from the first byte otherwise. */
async function goOn(transfer: Transfer, item: Item, facts: RemoteFacts, into: FileHandle): Promise<Opened> {
  const { ctx, call, note } = transfer
  const { size } = await statFd(into.fd)
  if (size > 0 && size <= facts.size) {
    const [hash, answer] = await Promise.all([
      hashBeginning(transfer, into, size),
      hashRemotePrefix(ctx.connection, call, item.remote, size),
    ])
    if (answer.kind === 'hashes' && hash?.copy().digest('hex') === answer.hashes[0]) return { into, from: size, hash }
    note(
      'what was there from an earlier attempt was not, or not surely, the beginning of the file: it was received anew',
    )
  }
  await truncateFd(into.fd, 0)
  return { into, from: 0, hash: transfer.input.verify === 'sha256' ? createHash('sha256') : undefined }
}

async function finish({ input, durable }: Transfer, into: FileHandle, facts: RemoteFacts): Promise<void> {
  // Only now: the file was nobody else's while it arrived. Bits that let it run as somebody else are not taken over.
  const mode = input.preserve_mode && facts.mode !== undefined ? facts.mode & 0o777 : 0o666 & ~process.umask()
  if (mode !== 0o600) await chmodFd(into.fd, mode)
  if (input.preserve_mtime) await touchFd(into.fd, facts.mtime)
  if (durable) await syncFd(into.fd)
}

async function placeLocal({ input }: Transfer, folder: LocalFolder, temp: string, name: string): Promise<boolean> {
  if (input.overwrite === 'never') return folder.placeNew(temp, name)
  if ((await folder.stat(name))?.kind === 'directory')
    throw badTarget(join(folder.path, name), 'is a folder on this machine')
  await folder.rename(temp, name)
  return true
}
