import { type MhvError, mhvError, toMhvError } from '../../../core/errors.ts'
import { RESULT_FILES } from './limits.ts'
import type { FileResult, TransferData, TransferInput } from './transfer.ts'
import type { Item, Skipped, Staged, Transfer, TransferContext } from './types.ts'

/** What has become of the files: the first ones for the result, a line for each in the output of the run. */
export interface Report {
  placed(): number
  /** A folder of a tree, that was made or found. */
  folder(): void
  /** A folder that has come into being, of a tree or above a target. */
  made(): void
  done(staged: Staged): void
  /** A link, which has no content. */
  linked(item: Item): void
  skipped(skipped: Skipped): void
  /** Writes the lines that have come together; awaiting it is the backpressure. */
  flush(): Promise<void>
  note(text: string): void
  /** The error to end with: one that says that nothing was done is not true any more after the first file or folder. */
  failed(error: unknown): MhvError
  data(transfer: Transfer): TransferData
}

export function createReport(ctx: TransferContext, input: TransferInput): Report {
  const began = ctx.clock.monotonic()
  const first: FileResult[] = []
  const notes = new Set<string>()
  let lines: string[] = []
  const counts = { transferred: 0, skipped: 0, folders: 0, made: 0, bytes: 0, left: 0 }

  function add(file: FileResult): void {
    if (first.length < RESULT_FILES) first.push(file)
    else counts.left += 1
    lines.push(JSON.stringify(file))
  }
  const nothing = { bytes: 0, sha256: null, verified: 'none', seconds: 0, resumed_from: 0, skipped: null } as const

  return {
    placed: () => counts.transferred,
    folder() {
      counts.folders += 1
    },
    made() {
      counts.made += 1
    },
    done({ item, bytes, sha256, resumedFrom, began: fileBegan }) {
      counts.transferred += 1
      counts.bytes += bytes
      const seconds = Math.round(ctx.clock.monotonic() - fileBegan) / 1000
      const { local, remote } = item
      const { verify: verified } = input
      add({ local, remote, bytes, sha256: sha256 || null, verified, seconds, resumed_from: resumedFrom, skipped: null })
    },
    linked({ local, remote }) {
      counts.transferred += 1
      add({ local, remote, ...nothing })
    },
    skipped({ local, remote, reason }) {
      counts.skipped += 1
      add({ local, remote, ...nothing, skipped: reason })
    },
    async flush() {
      if (lines.length === 0) return
      const text = lines.map((line) => `${line}\n`).join('')
      lines = []
      await ctx.output.write('stdout', Buffer.from(text))
    },
    note: (text) => {
      notes.add(text)
    },
    failed(error) {
      const known = toMhvError(error)
      if (counts.transferred + counts.made === 0 || known.spec.phase !== 'before-effect') return known
      const done = counts.transferred > 0 ? `${counts.transferred} files were brought over whole` : 'folders were made'
      return mhvError('MHV_SSH_TRANSFER_PARTIAL', `${done}, then it failed: ${known.message}`, {
        details: { ...known.details, transferred: counts.transferred, error_code: known.code },
        remedy: known.remedy,
        cause: known,
      })
    },
    data({ durable }) {
      const seconds = (ctx.clock.monotonic() - began) / 1000
      const { transferred, skipped, folders, bytes, left } = counts
      return {
        direction: input.direction,
        transferred,
        skipped,
        folders,
        bytes,
        seconds: Math.round(seconds * 1000) / 1000,
        bytes_per_second: seconds > 0 ? Math.round(bytes / seconds) : 0,
        verified: input.verify,
        durable: durable ? 'yes' : input.fsync ? 'unsupported' : 'no',
        files: first,
        files_left_out: left,
        notes: [...notes],
      }
    },
  }
}
