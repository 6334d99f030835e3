import { join, sep } from 'node:path'
import { hostileName, type LocalRoots, openParent } from '../../../core/local-files.ts'
import { sftpError } from '../files/sftp-errors.ts'
import { badName, badSource, badTarget } from './errors.ts'
import { type FolderRef, folderIfThere } from './local-folders.ts'
import {
  isRepresentable,
  joinRemote,
  MAX_DEPTH,
  MAX_ENTRIES,
  matchesName,
  NOT_UTF8,
  splitPattern,
  splitRemote,
  staysInside,
} from './names.ts'
import { createPlan, type PlanBuilder } from './plan.ts'
import { notASource } from './plan-upload.ts'
import type { RemoteEntry, RemoteFacts, RemoteFiles } from './remote-files.ts'
import { isTempName } from './temp-name.ts'
import type { TransferInput } from './transfer.ts'
import type { Plan } from './types.ts'

interface Downloads {
  readonly input: TransferInput
  readonly roots: LocalRoots
  readonly folderRef: (path: string, create: boolean) => FolderRef
  /** Is told of each folder that comes into being here. */
  readonly made: () => void
  readonly remote: RemoteFiles
  readonly endpoint: string
  readonly signal: AbortSignal
  readonly plan: PlanBuilder
  /** Entries of all the folders that are being gone through: a host may list folders in folders without end. */
  readonly held: { count: number }
}

/** Looks at the remote side, and makes no more than the parents of targets that were named. Every name is the server's, and none of them is believed. */
export async function planDownload(parts: Omit<Downloads, 'plan' | 'held'>): Promise<Plan> {
  const downloads: Downloads = { ...parts, plan: createPlan(({ local }) => local), held: { count: 0 } }
  for (const { local, remote } of parts.input.files) {
    const { base, patterns } = parts.input.glob ? splitPattern(remote) : { base: remote, patterns: [] }
    if (patterns.length === 0) {
      await planNamed(downloads, base, local, false)
      continue
    }
    const found: string[] = []
    await matchesIn(downloads, base, patterns, found)
    if (found.length === 0) throw badSource(remote, 'matches nothing on the host')
    for (const path of found) await planNamed(downloads, path, join(local, splitRemote(path).name), true)
  }
  return downloads.plan.done()
}

async function matchesIn(
  downloads: Downloads,
  folder: string,
  patterns: readonly string[],
  found: string[],
): Promise<void> {
  const [pattern = '', ...rest] = patterns
  await eachEntry(downloads, folder, async ({ name, kind }) => {
    if (!matchesName(pattern, name)) return
    if (rest.length > 0) {
      if (kind === 'directory') await matchesIn(downloads, joinRemote(folder, name), rest, found)
    } else if (!isTempName(name) && isRepresentable(name)) {
      if (found.length >= MAX_ENTRIES) throw badSource(folder, `has more than ${MAX_ENTRIES} matches`)
      found.push(joinRemote(folder, name))
    }
  })
}

async function eachEntry(
  downloads: Downloads,
  path: string,
  use: (entry: RemoteEntry) => void | Promise<void>,
): Promise<void> {
  const entries = await entriesOf(downloads, path)
  downloads.held.count += entries.length
  try {
    for (const entry of entries) await use(entry)
  } finally {
    downloads.held.count -= entries.length
  }
}

/** What the server lists, in the order of the names; a name that leads elsewhere ends everything. */
async function entriesOf({ remote, endpoint, signal, held }: Downloads, path: string): Promise<RemoteEntry[]> {
  const entries: RemoteEntry[] = []
  const names = new Set<string>()
  try {
    await remote.list(path, (batch) => {
      signal.throwIfAborted()
      for (const entry of batch) {
        if (entry.name === '.' || entry.name === '..') continue
        const hostile = hostileName(entry.name)
        if (hostile !== undefined)
          throw badName(entry.name, `is what the host lists in ${JSON.stringify(path)}: it ${hostile}`)
        if (names.has(entry.name) && isRepresentable(entry.name))
          throw badName(entry.name, `is listed twice in ${JSON.stringify(path)}`)
        names.add(entry.name)
        entries.push(entry)
      }
      if (held.count + entries.length > MAX_ENTRIES)
        throw badSource(path, `has more than ${MAX_ENTRIES} entries, with the folders above it`)
    })
  } catch (error) {
    throw await sftpError(error, { doing: 'list', path, endpoint })
  }
  return entries.sort((a, b) => (a.name < b.name ? -1 : 1))
}

/** Follows a link. Undefined where there is nothing. */
async function look({ remote, endpoint }: Downloads, path: string, follow: boolean): Promise<RemoteFacts | undefined> {
  try {
    return await (follow ? remote.stat(path) : remote.lstat(path))
  } catch (error) {
    throw await sftpError(error, { doing: 'look at', path, endpoint })
  }
}

async function planNamed(downloads: Downloads, remote: string, local: string, matched: boolean): Promise<void> {
  const { input, plan } = downloads
  const path = remote.replace(/(.)\/+$/, '$1')
  const facts = await look(downloads, path, !matched)
  const { name } = splitRemote(path)
  const intoFolder = !matched && (local.endsWith('/') || local.endsWith(sep))
  const target = intoFolder ? join(local, name) : local
  if (intoFolder && (name === '' || name === '.' || name === '..'))
    throw badTarget(local, 'needs a name: the source has none')
  if (facts?.kind === 'directory' && input.recursive) {
    return planTree(downloads, path, await absolute(downloads, target), 0, [])
  }
  if (facts?.kind === 'file') return addFile(downloads, path, facts, await placeOf(downloads, target))
  if (facts?.kind === 'symlink') return planLink(downloads, path, await placeOf(downloads, target), 0, [])
  if (facts?.kind === 'directory' && matched) {
    return plan.skip({ local: target, remote: path, reason: 'a folder; recursive is not set' })
  }
  throw badSource(remote, notASource(facts?.kind))
}

interface Place {
  readonly folder: string
  readonly name: string
}

/** The folder that a target lies in, which must be there unless parents are made, and its name. */
async function placeOf({ roots, input, made }: Downloads, target: string): Promise<Place> {
  const { folder, name } = await openParent(target, roots, input.parents && made)
  try {
    if ((await folder.stat(name))?.kind === 'directory')
      throw badTarget(target, 'is a folder on this machine: end it with / to put the file into it')
    return { folder: folder.path, name }
  } finally {
    await folder.close()
  }
}

/** The absolute path of a folder that is still to be made, below the roots. */
async function absolute({ roots, input, made }: Downloads, target: string): Promise<string> {
  const there = await folderIfThere(target, roots)
  if (there !== undefined) {
    await there.close()
    return there.path
  }
  const { folder, name } = await openParent(target, roots, input.parents && made)
  await folder.close()
  return join(folder.path, name)
}

function addFile({ plan, folderRef }: Downloads, remote: string, facts: RemoteFacts, { folder, name }: Place): void {
  const { size, mtime, mode } = facts
  plan.add({
    kind: 'file',
    local: join(folder, name),
    remote,
    folder: folderRef(folder, true),
    name,
    size,
    mtime,
    mode,
  })
}

async function planTree(
  downloads: Downloads,
  path: string,
  local: string,
  depth: number,
  above: readonly string[],
): Promise<void> {
  const { plan, folderRef } = downloads
  if (depth > MAX_DEPTH) throw badSource(path, `lies deeper than ${MAX_DEPTH} folders`)
  plan.add({
    kind: 'directory',
    local,
    remote: path,
    folder: folderRef(local, true),
    name: '',
    size: 0,
    mtime: 0,
    mode: undefined,
  })
  await eachEntry(downloads, path, async (entry) => {
    const remote = joinRemote(path, entry.name)
    const place = { folder: local, name: entry.name }
    const target = join(local, entry.name)
    const facts = entry.mode === undefined ? await look(downloads, remote, false) : entry
    if (!isRepresentable(entry.name)) plan.skip({ local: target, remote, reason: NOT_UTF8 })
    else if (isTempName(entry.name)) plan.skip({ local: target, remote, reason: 'what an unfinished transfer left' })
    else if (facts?.kind === 'file') addFile(downloads, remote, facts, place)
    else if (facts?.kind === 'directory') await planTree(downloads, remote, target, depth + 1, above)
    else if (facts?.kind === 'symlink') await planLink(downloads, remote, place, depth, above)
    else plan.skip({ local: target, remote, reason: 'no regular file' })
  })
}

async function planLink(
  downloads: Downloads,
  remote: string,
  place: Place,
  depth: number,
  above: readonly string[],
): Promise<void> {
  const { input, plan, folderRef, remote: files } = downloads
  const { folder, name } = place
  const local = join(folder, name)
  const failed =
    (doing: string) =>
    async (error: unknown): Promise<never> => {
      throw await sftpError(error, { doing, path: remote, endpoint: downloads.endpoint })
    }
  if (input.symlinks === 'refuse') throw badSource(remote, 'is a symbolic link, and symlinks is refuse')
  if (input.symlinks === 'skip') return plan.skip({ local, remote, reason: 'a symbolic link' })
  if (input.symlinks === 'copy') {
    const link = await files.readlink(remote).catch(failed('read'))
    if (!staysInside(depth, link))
      throw badName(remote, `is a link that leads out of the tree, to ${JSON.stringify(link)}`)
    if (!isRepresentable(link)) return plan.skip({ local, remote, reason: 'a link to a name that is not UTF-8' })
    return plan.add({
      kind: 'symlink',
      local,
      remote,
      folder: folderRef(folder, true),
      name,
      size: 0,
      mtime: 0,
      mode: undefined,
      link,
    })
  }
  const facts = await look(downloads, remote, true)
  if (facts?.kind === 'file') return addFile(downloads, remote, facts, place)
  if (facts?.kind === 'directory' && input.recursive) {
    const real = await files.realpath(remote).catch(failed('resolve'))
    if (above.includes(real)) throw badSource(remote, 'is a link to a folder that was reached by a link before')
    return planTree(downloads, remote, local, depth + 1, [...above, real])
  }
  plan.skip({ local, remote, reason: 'a symbolic link that leads to no file' })
}
