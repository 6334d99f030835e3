import { createHash, type Hash } from 'node:crypto'
import type { FileHandle } from 'node:fs/promises'
import { localError } from '../../../core/local-files.ts'
import { type SftpRequest, sftpError } from '../files/sftp-errors.ts'
import { claimPart, type PartClaim, withClaim } from './claim-part.ts'
import { badTarget, mismatch, notEmpty } from './errors.ts'
import { type LocalFacts, readFd, statFd } from './local-fd.ts'
import { joinRemote, splitRemote } from './names.ts'
import { placeRemote } from './place-remote.ts'
import { codeOf, type RemoteFiles, SFTP_NO_SUCH_FILE } from './remote-files.ts'
import { hashRemote } from './remote-hash.ts'
import { hashBeginning, sendFile } from './send-file.ts'
import { onceId, tempName } from './temp-name.ts'
import type { Item, Staged, Transfer } from './types.ts'

/** An open temporary file, and what of it can be gone on from. */
interface Opened {
  readonly handle: Buffer
  readonly from: number
  readonly hash: Hash | undefined
}

/** Sends one file to its temporary name. Whatever fails, nothing of it is left, unless it is to be resumed. */
export function stageUpload(transfer: Transfer, item: Item, remote: RemoteFiles): Promise<Staged> {
  return item.folder.use(async (folder) => {
    const source = await folder.read(item.name)
    try {
      return await stage(transfer, item, remote, source)
    } finally {
      await source.close()
    }
  })
}

async function stage(transfer: Transfer, item: Item, remote: RemoteFiles, source: FileHandle): Promise<Staged> {
  const began = transfer.ctx.clock.monotonic()
  const facts = await statFd(source.fd)
  if (facts.size === 0) await refuseFalselyEmpty(source, item.local)
  const claim = claimOf(transfer, item, facts)
  try {
    return withClaim(await send(transfer, item, remote, source, facts, claim, began), claim)
  } catch (error) {
    claim.release()
    throw error
  }
}

async function send(
  transfer: Transfer,
  item: Item,
  remote: RemoteFiles,
  source: FileHandle,
  facts: LocalFacts,
  claim: PartClaim,
  began: number,
): Promise<Staged> {
  const { ctx, meter } = transfer
  const temp = tempPath(item, claim)
  const discard = () => remote.unlink(temp).catch(() => undefined)
  const opened = await openTemp(transfer, remote, source, facts, temp, claim)
  const { handle, from, hash } = opened
  let closed = false
  try {
    meter.bytes(from)
    const sent = await sendFile(transfer, { source, facts, handle, remote, from, hash, path: item.local })
    closed = true
    await finish(transfer, remote, opened, facts, temp)
    return {
      item,
      temp,
      bytes: sent.bytes,
      sha256: sent.sha256,
      resumedFrom: from,
      began,
      discard,
      place: () => placeRemote(transfer, remote, temp, item.remote),
    }
  } catch (error) {
    const known = await sftpError(error, writing(transfer, temp), remote, { writes: true })
    if (!closed) await remote.close(handle).catch(() => undefined)
    const keep = claim.resumes && known.code !== 'MHV_SSH_TRANSFER_CHANGED'
    if (!keep) await discard()
    ctx.log.debug('a file was not sent', { error_code: known.code, kept: keep })
    throw known
  }
}

async function refuseFalselyEmpty(source: FileHandle, path: string): Promise<void> {
  const read = await readFd(source.fd, Buffer.alloc(1), 1, 0).catch((error: unknown) => {
    throw localError(error, path)
  })
  if (read > 0) throw notEmpty(path)
}

/** A small file that was read whole. */
export interface WholeFile {
  readonly bytes: Uint8Array
  readonly sha256: string
  readonly size: number
  readonly mode: number
  readonly mtimeMs: number
  readonly began: number
}

/** Sends a small file in one request. Whatever fails, nothing of it is left. */
export async function sendWhole(transfer: Transfer, item: Item, remote: RemoteFiles, file: WholeFile): Promise<Staged> {
  const { bytes, sha256, size, began } = file
  // Whole files have no part to go on with: nobody else has the name.
  const temp = tempPath(item, { id: onceId(transfer.ctx.run_id, item.remote) })
  const discard = () => remote.unlink(temp).catch(() => undefined)
  const handle = await createTemp(transfer, remote, file, temp)
  try {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    await Promise.all([
      remote.write(handle, buffer, size, 0),
      finish(transfer, remote, { handle, from: 0, hash: undefined }, file, temp),
    ])
  } catch (error) {
    const known = await sftpError(error, writing(transfer, temp), remote, { writes: true })
    await discard()
    throw known
  }
  transfer.meter.bytes(size)
  const place = () => placeRemote(transfer, remote, temp, item.remote)
  return { item, temp, bytes: size, sha256, resumedFrom: 0, began, discard, place }
}

const writing = ({ endpoint }: Transfer, path: string): SftpRequest => ({ doing: 'write', path, endpoint })

function claimOf(transfer: Transfer, { local, remote }: Item, { size, mtimeMs }: LocalFacts): PartClaim {
  return claimPart(transfer, { source: local, size, mtime: mtimeMs, target: remote })
}

function tempPath(item: Item, { id }: Pick<PartClaim, 'id'>): string {
  const { folder, name } = splitRemote(item.remote)
  return joinRemote(folder, tempName(name, id))
}

async function openTemp(
  transfer: Transfer,
  remote: RemoteFiles,
  source: FileHandle,
  facts: LocalFacts,
  temp: string,
  claim: PartClaim,
): Promise<Opened> {
  const { input } = transfer
  if (claim.resumes) {
    const kept = await openKept(transfer, remote, source, facts, temp)
    if (kept !== undefined) return kept
  }
  const hash = input.verify === 'sha256' ? createHash('sha256') : undefined
  return { handle: await createTemp(transfer, remote, facts, temp), from: 0, hash }
}

async function createTemp(transfer: Transfer, remote: RemoteFiles, facts: LocalFacts, temp: string): Promise<Buffer> {
  const { input } = transfer
  // Never readable by more people than the source is, not even for a moment.
  const mode = input.preserve_mode ? (facts.mode & 0o777) | 0o200 : 0o666
  const create = () => remote.open(temp, 'wx', mode)
  // Whatever is there under this name, an attempt of ours has left it.
  const again = () => remote.unlink(temp).then(create, create)
  try {
    return await create().catch(again)
  } catch (error) {
    const { folder } = splitRemote(temp)
    const missing = codeOf(error) === SFTP_NO_SUCH_FILE && (await remote.stat(folder).catch(() => null)) === undefined
    if (missing) throw badTarget(folder, 'is no folder on the host: set parents to make it')
    throw await sftpError(error, writing(transfer, temp), remote, { writes: true })
  }
}

/** What an earlier attempt left, where its content is the beginning of the source. */
async function openKept(
  transfer: Transfer,
  remote: RemoteFiles,
  source: FileHandle,
  facts: LocalFacts,
  temp: string,
): Promise<Opened | undefined> {
  const { ctx, call, note } = transfer
  const failed = async (error: unknown): Promise<never> => {
    throw await sftpError(error, { doing: 'go on with', path: temp, endpoint: transfer.endpoint })
  }
  const kept = await remote.lstat(temp).catch(failed)
  if (kept === undefined || kept.kind !== 'file' || kept.size === 0 || kept.size > facts.size) return undefined
  const answer = await hashRemote(ctx.connection, call, [temp])
  if (answer.kind !== 'hashes') {
    note('a part of a file was there from an earlier attempt, but could not be verified: it was sent anew')
    return undefined
  }
  const hash = await hashBeginning(transfer, source, kept.size)
  if (hash === undefined || hash.copy().digest('hex') !== answer.hashes[0]) {
    note('what was there from an earlier attempt was not the beginning of the file: it was sent anew')
    return undefined
  }
  return { handle: await remote.open(temp, 'r+').catch(failed), from: kept.size, hash }
}

/** Mode, time, durability, and the end of the handle: sent at once, since a server answers in order. */
async function finish(
  transfer: Transfer,
  remote: RemoteFiles,
  { handle, from }: Opened,
  facts: LocalFacts,
  temp: string,
): Promise<void> {
  const { input, durable, keptModes } = transfer
  const mode = input.preserve_mode ? facts.mode & 0o777 : undefined
  const folder = splitRemote(temp).folder
  const steps: Promise<unknown>[] = []
  // The server's umask may have taken bits away. Which ones it leaves is asked once for a folder.
  const ask = mode !== undefined && (from > 0 || (mode & 0o200) === 0 || (mode & ~(keptModes.get(folder) ?? 0)) !== 0)
  const actual = ask ? (await remote.fstat(handle)).mode : mode
  if (mode !== undefined && actual === mode) keptModes.set(folder, (keptModes.get(folder) ?? 0) | mode)
  const set = {
    ...(mode === undefined || actual === mode ? {} : { mode }),
    ...(input.preserve_mtime ? { mtime: Math.floor(facts.mtimeMs / 1000) } : {}),
  }
  if (Object.keys(set).length > 0) steps.push(remote.fsetstat(handle, set))
  if (durable) steps.push(remote.fsync(handle))
  const sized = input.verify === 'size' ? remote.fstat(handle) : undefined
  if (sized !== undefined) steps.push(sized)
  steps.push(remote.close(handle))
  await Promise.all(steps)
  const stored = await sized
  if (stored !== undefined && stored.size !== facts.size)
    throw mismatch(temp, `${facts.size} bytes were sent, and the host has ${stored.size}`)
}
