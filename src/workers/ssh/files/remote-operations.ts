import { mhvError } from '../../../core/errors.ts'
import type { SshContext } from '../run-command.ts'
import type { RemoteEntry, RemoteFacts } from '../transfer/remote-files.ts'
import { type OpenFiles, onFiles } from './on-files.ts'
import { entryData, type RemoteEntryData } from './remote-entry.ts'
import { joinRemote } from './remote-path.ts'
import { folderOf, sftpError } from './sftp-errors.ts'
import type { ListData, ListInput } from './sftp-list.ts'
import type { MkdirData, MkdirInput } from './sftp-mkdir.ts'
import type { RemoveData, RemoveInput } from './sftp-remove.ts'
import type { StatData, StatInput } from './sftp-stat.ts'
import { readFolder } from './walk.ts'

/** Deepest tree that is walked: no honest one is deeper, and a hostile server could go on for ever. */
const MAX_DEPTH = 200
/** Most entries that are removed, or looked at, in one call. */
const MAX_ENTRIES = 1_000_000
/** Requests of a removal on their way at once. */
const PARALLEL = 32
/** Failures that are told one by one. */
const TOLD = 20

interface Found {
  readonly at: string
  readonly depth: number
  readonly entry: RemoteEntry
}

export function listFolder(ctx: SshContext, { path, recursive, limit }: ListInput): Promise<ListData> {
  return onFiles(ctx, async (open) => {
    const found: RemoteEntryData[] = []
    /** What is still to be found, the next one last: never more than the limit lets through. */
    const ahead: Found[] = []
    let beyond = false
    let hostile = 0
    async function look(folder: string, depth: number): Promise<void> {
      if (depth > MAX_DEPTH) throw tooDeep(open, folder)
      const room = limit - found.length
      const content = await answerOf(open, 'list', folder, () => readFolder(open.files, folder, room))
      beyond ||= content.beyond > 0
      hostile += content.hostile
      for (const entry of content.entries.toReversed()) ahead.push({ at: joinRemote(folder, entry.name), depth, entry })
      if (ahead.length <= room) return
      ahead.splice(0, ahead.length - room)
      beyond = true
    }
    await look(path, 0)
    for (let next = ahead.pop(); next !== undefined; next = ahead.pop()) {
      found.push(entryData(next.at, next.entry))
      if (recursive && next.entry.kind === 'directory') await look(next.at, next.depth + 1)
    }
    return { entries: found, truncated: beyond, hostile_names: hostile }
  })
}

export function statPath(ctx: SshContext, { path, follow }: StatInput): Promise<StatData> {
  return onFiles(ctx, async (open) => {
    const facts = await factsOf(open, path, follow)
    if (facts === undefined) throw notThere(open, path)
    const link = facts.kind === 'symlink'
    const link_target = link ? await answerOf(open, 'read', path, () => open.files.readlink(path)) : null
    return { ...entryData(path, facts), link_target }
  })
}

export function makeFolder(ctx: SshContext, { path, parents, mode }: MkdirInput): Promise<MkdirData> {
  return onFiles(ctx, async (open) => {
    const missing: string[] = []
    for (let at = path; ; at = folderOf(at)) {
      const facts = await factsOf(open, at, true)
      if (facts?.kind === 'directory') break
      if (facts !== undefined) {
        throw mhvError('MHV_SSH_SFTP_EXISTS', `${open.endpoint}: ${JSON.stringify(at)} is there, and is no folder`, {
          details: { path: at, kind: facts.kind },
        })
      }
      missing.unshift(at)
      const last = at === folderOf(at)
      if (last || (!parents && missing.length > 1)) throw notThere(open, at)
    }
    const created: string[] = []
    for (const folder of missing) {
      try {
        await open.files.mkdir(folder, Number.parseInt(mode, 8))
        created.push(folder)
      } catch (error) {
        // Somebody else may have made it meanwhile.
        if ((await factsOf(open, folder, true).catch(() => undefined))?.kind === 'directory') continue
        throw await sftpError(error, { doing: 'make', path: folder, endpoint: open.endpoint }, open.files, {
          makes: true,
        })
      }
    }
    return { created }
  })
}

export function removePaths(ctx: SshContext, { paths, recursive, missing_ok }: RemoveInput): Promise<RemoveData> {
  return onFiles(ctx, async (open) => {
    const missing: string[] = []
    const there: { path: string; kind: RemoteFacts['kind'] }[] = []
    for (const path of new Set(paths)) {
      const facts = await factsOf(open, path, false)
      if (facts !== undefined) there.push({ path, kind: facts.kind })
      else if (missing_ok) missing.push(path)
      else throw notThere(open, path)
    }
    const plan = await planRemoval(open, there, recursive)
    return { removed: await removeAll(open, plan), missing }
  })
}

/** Everything that goes: files first, then folders from the inside out. */
interface Removal {
  readonly files: readonly string[]
  readonly folders: readonly string[]
}

async function planRemoval(
  open: OpenFiles,
  there: readonly { readonly path: string; readonly kind: RemoteFacts['kind'] }[],
  recursive: boolean,
): Promise<Removal> {
  // Each once: a path may be named by itself, and lie in a folder that is named as well.
  const files = new Set<string>()
  const folders = new Set<string>()
  /** Entries of the folders above that are still to be looked at. */
  let held = 0
  async function plan(path: string, kind: RemoteFacts['kind'], depth: number): Promise<void> {
    if (kind !== 'directory') {
      files.add(path)
      return
    }
    if (depth > MAX_DEPTH) throw tooDeep(open, path)
    const left = MAX_ENTRIES - files.size - folders.size - held
    const { entries, beyond, hostile } = await answerOf(open, 'list', path, () => readFolder(open.files, path, left))
    if (hostile > 0) throw hostileAnswer(open, `${JSON.stringify(path)} holds names that no file system has`)
    if (beyond > 0)
      throw mhvError('MHV_INPUT_INVALID', `there are more than ${MAX_ENTRIES} entries: remove parts of it`)
    if (entries.length > 0 && !recursive) {
      throw mhvError('MHV_INPUT_INVALID', `${JSON.stringify(path)} is a folder with ${entries.length} entries`, {
        details: { path, entries: entries.length },
        remedy: 'Say recursive to remove the folder with all that is in it.',
      })
    }
    held += entries.length
    for (const { name, kind: inner } of entries) {
      held -= 1
      await plan(joinRemote(path, name), inner, depth + 1)
    }
    folders.add(path)
  }
  for (const { path, kind } of there) await plan(path, kind, 0)
  return { files: [...files], folders: [...folders] }
}

async function removeAll(open: OpenFiles, { files, folders }: Removal): Promise<number> {
  const { endpoint } = open
  const failed: { path: string; error: string }[] = []
  let removed = 0
  let first: unknown
  async function remove(path: string, act: () => Promise<void>): Promise<void> {
    try {
      await act()
      removed += 1
    } catch (error) {
      const known = await sftpError(error, { doing: 'remove', path, endpoint })
      // Without the session nothing more can be found out.
      if (known.code === 'MHV_SSH_CONNECTION_LOST') throw known
      first ??= known
      failed.push({ path, error: known.message })
    }
  }
  for (let at = 0; at < files.length; at += PARALLEL) {
    await Promise.all(files.slice(at, at + PARALLEL).map((path) => remove(path, () => open.files.unlink(path))))
  }
  for (const path of folders) await remove(path, () => open.files.rmdir(path))
  if (failed.length === 0) return removed
  if (removed === 0 && failed.length === 1) throw first
  throw mhvError('MHV_SSH_SFTP_INCOMPLETE', `${endpoint}: ${removed} removed, ${failed.length} left`, {
    details: { removed, left: failed.length, failed: failed.slice(0, TOLD) },
    cause: first,
  })
}

function factsOf({ files, endpoint }: OpenFiles, path: string, follow: boolean): Promise<RemoteFacts | undefined> {
  return answerOf({ files, endpoint }, 'look at', path, () => (follow ? files.stat(path) : files.lstat(path)))
}

async function answerOf<T>({ endpoint }: OpenFiles, doing: string, path: string, ask: () => Promise<T>): Promise<T> {
  try {
    return await ask()
  } catch (error) {
    throw await sftpError(error, { doing, path, endpoint })
  }
}

function notThere({ endpoint }: OpenFiles, path: string) {
  return mhvError('MHV_SSH_SFTP_NOT_FOUND', `${endpoint}: there is no ${JSON.stringify(path)}`, { details: { path } })
}

function tooDeep(open: OpenFiles, path: string) {
  return hostileAnswer(open, `${JSON.stringify(path.slice(0, 100))}… is nested deeper than ${MAX_DEPTH} folders`)
}

function hostileAnswer({ endpoint }: OpenFiles, what: string) {
  return mhvError('MHV_SSH_SFTP_HOSTILE', `${endpoint}: ${what}`)
}
