import { readlink, realpath } from 'node:fs/promises'
import { basename, join } from 'node:path'
import {
  type LocalFolder,
  type LocalRoots,
  type LocalStat,
  openLocalFolder,
  openParent,
} from '../../../core/local-files.ts'
import { sftpError } from '../files/sftp-errors.ts'
import { badSource, badTarget } from './errors.ts'
import { eachOf, FILES_AT_ONCE } from './flow.ts'
import { type FolderRef, folderIfThere } from './local-folders.ts'
import { joinRemote, MAX_DEPTH, MAX_ENTRIES, matchesName, NOT_UTF8, plainRemote, splitPattern } from './names.ts'
import { createPlan, type PlanBuilder } from './plan.ts'
import type { RemoteFiles } from './remote-files.ts'
import { isTempName } from './temp-name.ts'
import type { TransferInput } from './transfer.ts'
import type { Plan } from './types.ts'

interface Uploads {
  readonly input: TransferInput
  readonly roots: LocalRoots
  readonly folderRef: (path: string, create: boolean) => FolderRef
  readonly signal: AbortSignal
  readonly plan: PlanBuilder
}

/** Looks at the local side, and at the targets that were named, and writes nothing. */
export async function planUpload(parts: Omit<Uploads, 'plan'>): Promise<Plan> {
  const uploads: Uploads = { ...parts, plan: createPlan(({ remote }) => plainRemote(remote)) }
  for (const { local, remote } of parts.input.files) {
    const { base, patterns } = parts.input.glob ? splitPattern(local) : { base: local, patterns: [] }
    if (patterns.length > 0) await planMatches(uploads, { base, patterns, local, remote })
    else await planNamed(uploads, base, remote, false)
  }
  return uploads.plan.done()
}

interface Matches {
  readonly base: string
  readonly patterns: readonly string[]
  readonly local: string
  readonly remote: string
}

async function planMatches(uploads: Uploads, { base, patterns, local, remote }: Matches): Promise<void> {
  const folder = await openLocalFolder(base, uploads.roots)
  const found: string[] = []
  try {
    await matchesIn(folder, patterns, '', found)
  } finally {
    await folder.close()
  }
  if (found.length === 0) throw badSource(local, 'matches nothing on this machine')
  for (const name of found) await planNamed(uploads, join(base, name), joinRemote(remote, basename(name)), true)
}

/** Finds the paths below the folder that match the components, in their order by name. */
async function matchesIn(
  folder: LocalFolder,
  patterns: readonly string[],
  way: string,
  found: string[],
): Promise<void> {
  const [pattern = '', ...rest] = patterns
  const matching = (await namesOf(folder)).names.filter((name) => matchesName(pattern, name))
  for (const name of matching) {
    if (rest.length === 0) {
      if (isTempName(name)) continue
      if (found.length >= MAX_ENTRIES) throw badSource(folder.path, `has more than ${MAX_ENTRIES} matches`)
      found.push(join(way, name))
      continue
    }
    if ((await folder.stat(name))?.kind !== 'directory') continue
    const below = await folder.folder(name)
    await matchesIn(below, rest, join(way, name), found).finally(below.close)
  }
}

/** Names in their order, and how many are none that a transfer can carry. */
async function namesOf(folder: LocalFolder): Promise<{ readonly names: string[]; readonly odd: string[] }> {
  const names: string[] = []
  const odd: string[] = []
  for (const bytes of await folder.names()) {
    const name = bytes.toString('utf8')
    if (Buffer.from(name).equals(bytes)) names.push(name)
    else odd.push(name)
  }
  return { names: names.sort(), odd }
}

/** A path as somebody wrote it, or as a pattern matched it. What was written is followed where it is a link. */
async function planNamed(uploads: Uploads, local: string, remote: string, matched: boolean): Promise<void> {
  const { input, roots, plan } = uploads
  const tree = input.recursive ? await treeAt(local, roots, matched) : undefined
  if (tree !== undefined) {
    const target = !matched && remote.endsWith('/') ? joinRemote(remote, basename(tree.path)) : remote
    return planTree(uploads, tree, target.replace(/(.)\/+$/, '$1'), [tree.path]).finally(tree.close)
  }
  const { folder, name } = await openParent(local, roots)
  try {
    const facts = await folder.stat(name)
    const target = remote.endsWith('/') && !matched ? joinRemote(remote, name) : remote
    if (facts?.kind === 'symlink' && !matched) return await planLinked(uploads, join(folder.path, name), local, target)
    if (facts?.kind === 'symlink') return await planLink(uploads, folder, name, target, [])
    if (facts?.kind === 'file') return addFile(uploads, folder, name, facts, target)
    if (facts?.kind === 'directory' && matched) {
      plan.skip({ local: join(folder.path, name), remote: target, reason: 'a folder; recursive is not set' })
      return
    }
    throw badSource(local, notASource(facts?.kind))
  } finally {
    await folder.close()
  }
}

/** The folder that a path leads to. A link that a pattern matched leads nowhere: it follows its policy. */
async function treeAt(path: string, roots: LocalRoots, matched: boolean): Promise<LocalFolder | undefined> {
  if (matched) {
    const { folder, name } = await openParent(path, roots)
    const facts = await folder.stat(name).finally(folder.close)
    if (facts?.kind !== 'directory') return undefined
  }
  return folderIfThere(path, roots)
}

export function notASource(kind: LocalStat['kind'] | undefined): string {
  if (kind === undefined) return 'is not there'
  return kind === 'directory' ? 'is a folder: set recursive to transfer it whole' : 'is no regular file'
}

/** Where a link leads, below the roots as everything else. */
async function planLinked(uploads: Uploads, path: string, local: string, target: string): Promise<void> {
  const real = await realpath(path).catch(() => undefined)
  if (real === undefined) throw badSource(local, 'is a link that leads nowhere')
  const { folder, name } = await openParent(real, uploads.roots)
  try {
    const facts = await folder.stat(name)
    if (facts?.kind !== 'file') throw badSource(local, notASource(facts?.kind))
    addFile(uploads, folder, name, facts, target)
  } finally {
    await folder.close()
  }
}

function addFile(
  { plan, folderRef }: Uploads,
  folder: LocalFolder,
  name: string,
  { bytes, modified, mode }: LocalStat,
  remote: string,
): void {
  const mtime = Math.floor(modified / 1000)
  const local = join(folder.path, name)
  plan.add({ kind: 'file', local, remote, folder: folderRef(folder.path, false), name, size: bytes, mtime, mode })
}

/** @param above real paths of the folders that lead here, so that a link that leads back is found */
async function planTree(uploads: Uploads, tree: LocalFolder, target: string, above: readonly string[]): Promise<void> {
  const { plan, folderRef, signal } = uploads
  if (above.length > MAX_DEPTH) throw badSource(tree.path, `lies deeper than ${MAX_DEPTH} folders`)
  signal.throwIfAborted()
  const ref = folderRef(tree.path, false)
  plan.add({
    kind: 'directory',
    local: tree.path,
    remote: target,
    folder: ref,
    name: '',
    size: 0,
    mtime: 0,
    mode: undefined,
  })
  const { names, odd } = await namesOf(tree)
  for (const name of odd)
    plan.skip({ local: join(tree.path, name), remote: joinRemote(target, name), reason: NOT_UTF8 })
  const known = await statAll(tree, names, signal)
  for (const [at, name] of names.entries()) {
    const local = join(tree.path, name)
    const remote = joinRemote(target, name)
    const facts = known[at]
    if (facts === undefined) continue
    if (isTempName(name)) plan.skip({ local, remote, reason: 'what an unfinished transfer left' })
    else if (facts.kind === 'file') addFile(uploads, tree, name, facts, remote)
    else if (facts.kind === 'symlink') await planLink(uploads, tree, name, remote, above)
    else if (facts.kind === 'other') plan.skip({ local, remote, reason: 'no regular file' })
    else {
      const below = await tree.folder(name)
      await planTree(uploads, below, remote, [...above, below.path]).finally(below.close)
    }
  }
}

/** Facts of the entries of a folder, in the order of the names. Several at once: each is waited for. */
async function statAll(
  folder: LocalFolder,
  names: readonly string[],
  signal: AbortSignal,
): Promise<(LocalStat | undefined)[]> {
  const facts: (LocalStat | undefined)[] = []
  await eachOf(names.entries(), FILES_AT_ONCE, async ([at, name]) => {
    signal.throwIfAborted()
    facts[at] = await folder.stat(name)
  })
  return facts
}

async function planLink(
  uploads: Uploads,
  folder: LocalFolder,
  name: string,
  remote: string,
  above: readonly string[],
): Promise<void> {
  const { input, plan, roots, folderRef } = uploads
  const local = join(folder.path, name)
  if (input.symlinks === 'refuse') throw badSource(local, 'is a symbolic link, and symlinks is refuse')
  if (input.symlinks === 'skip') return plan.skip({ local, remote, reason: 'a symbolic link' })
  if (input.symlinks === 'copy') {
    const link = await readlink(local)
    const ref = folderRef(folder.path, false)
    return plan.add({ kind: 'symlink', local, remote, folder: ref, name, size: 0, mtime: 0, mode: undefined, link })
  }
  const real = await realpath(local).catch(() => undefined)
  if (real === undefined) return plan.skip({ local, remote, reason: 'a symbolic link that leads nowhere' })
  const tree = input.recursive ? await folderIfThere(real, roots) : undefined
  if (tree === undefined) return planLinked(uploads, local, local, remote)
  try {
    if (above.some((path) => path === tree.path || path.startsWith(`${tree.path}/`)))
      throw badSource(local, 'is a link to a folder that it lies in')
    await planTree(uploads, tree, remote, [...above, tree.path])
  } finally {
    await tree.close()
  }
}

/** Looks at the targets that were named before anything is sent: a folder cannot be replaced by a file. */
export async function checkRemoteTargets(
  { items }: Plan,
  input: TransferInput,
  remote: RemoteFiles,
  endpoint: string,
): Promise<void> {
  const named = new Set(input.files.map((pair) => pair.remote))
  const look = items.filter((item) => item.kind !== 'directory' && named.has(item.remote))
  const found = await Promise.all(
    look.map((item) =>
      remote.lstat(item.remote).catch(async (error: unknown) => {
        throw await sftpError(error, { doing: 'look at', path: item.remote, endpoint })
      }),
    ),
  )
  const at = found.findIndex((facts) => facts?.kind === 'directory')
  const item = look[at]
  if (item !== undefined)
    throw badTarget(item.remote, `is a folder on the host: end it with / to put ${basename(item.local)} into it`)
}
