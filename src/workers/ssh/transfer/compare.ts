import { sftpError } from '../files/sftp-errors.ts'
import { eachOf, FILES_AT_ONCE } from './flow.ts'
import { statFd } from './local-fd.ts'
import type { RemoteFiles } from './remote-files.ts'
import { hashRemote } from './remote-hash.ts'
import { hashBeginning } from './send-file.ts'
import type { Item, Transfer } from './types.ts'

interface Facts {
  readonly size: number
  /** Whole seconds since the epoch. */
  readonly mtime: number
}

/**
 * Which files are not to be brought over, and why: under `never` those whose target exists, under `if_different` those
 * whose target has the same content. That is told by SHA-256 or, with `verify: size`, by length and time.
 */
export async function sameAlready(transfer: Transfer, items: readonly Item[]): Promise<Map<Item, string>> {
  const { input, ctx, call, note } = transfer
  const left = new Map<Item, string>()
  const alike: Item[] = []
  await eachOf(items, FILES_AT_ONCE, async (item) => {
    const target = await targetFacts(transfer, item)
    if (target === undefined) return
    if (input.overwrite === 'never') left.set(item, 'the target exists')
    else if (target.size !== item.size) return
    else if (input.verify === 'sha256') alike.push(item)
    else if (target.mtime === item.mtime) left.set(item, 'the target has the same size and time')
  })
  if (alike.length === 0) return left
  const answer = await hashRemote(
    ctx.connection,
    call,
    alike.map(({ remote }) => remote),
  )
  if (answer.kind !== 'hashes') {
    note('the host could not hash the targets: they were replaced without a comparison')
    return left
  }
  await eachOf([...alike.keys()], 4, async (at) => {
    const item = alike[at] as Item
    if ((await localHash(transfer, item)) === answer.hashes[at]) left.set(item, 'the target has the same content')
  })
  return left
}

async function targetFacts({ input, lanes, endpoint }: Transfer, item: Item): Promise<Facts | undefined> {
  if (input.direction === 'upload') {
    return (lanes[0] as RemoteFiles).lstat(item.remote).catch(async (error: unknown) => {
      throw await sftpError(error, { doing: 'look at', path: item.remote, endpoint })
    })
  }
  return item.folder.use(async (folder) => {
    const facts = await folder.stat(item.name)
    if (facts === undefined) return undefined
    // A link is no file of the same content: it is replaced.
    return { size: facts.kind === 'file' ? facts.bytes : -1, mtime: Math.floor(facts.modified / 1000) }
  })
}

/** Of the source or the target, whichever lies here. */
function localHash(transfer: Transfer, item: Item): Promise<string | undefined> {
  return item.folder.use(async (folder) => {
    const file = await folder.read(item.name)
    try {
      const { size } = await statFd(file.fd)
      return (await hashBeginning(transfer, file, size))?.digest('hex')
    } finally {
      await file.close()
    }
  })
}
