import { mkdir, open, readdir, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import { gunzip as gunzipCallback } from 'node:zlib'
import { mhvError, systemCode } from '../../../core/errors.ts'

/**
 * The files of a recording: `ID.cast.gz` and, once that was full, the one before it, `ID.0.cast.gz`; and `ID.json`, which says
 * whose it is and how far it goes. The compressed files are gzip members one after the other, each of them whole, so that
 * `zcat` reads them whenever the process ended.
 */

/** Number of the format of `ID.json`. */
export const RECORDING_FORMAT = 1

/** What is known of a recording; in `ID.json`. */
export interface RecordingFacts {
  readonly format: typeof RECORDING_FORMAT
  readonly session: string
  /** The run that started the session. */
  readonly run_id: string
  /** Id of the principal whose session it is. */
  readonly owner: string
  readonly target: string | null
  readonly command: string | null
  readonly term: string
  readonly rows: number
  readonly cols: number
  /** Milliseconds since the epoch. */
  readonly started_at: number
  /** Null while the session goes on. */
  readonly ended_at: number | null
  /** Cursor up to which the output is in the files. */
  readonly recorded_to: number
  /** Length of `ID.cast.gz` up to there. */
  readonly file_bytes: number
  /** Whether the beginning was thrown away to stay within the limit. */
  readonly cut: boolean
  /** Names, in terminal.secrets, of those that were typed: they are resolved again to go on masking them. */
  readonly secrets: readonly string[]
}

/** Session ids come from callers: nothing else may become a part of a path. */
const ID = /^[0-9A-Za-z]{1,64}$/

const gunzip = promisify(gunzipCallback)

export interface RecordingFiles {
  readonly folder: string
  current(id: string): string
  facts(id: string): Promise<RecordingFacts | null>
  writeFacts(facts: RecordingFacts): Promise<void>
  append(id: string, member: Uint8Array): Promise<void>
  /** Makes the current file the one before; what that was is gone. */
  rotate(id: string): Promise<void>
  /** Cuts off what was written after the facts. */
  cutTo(id: string, bytes: number): Promise<void>
  /** Names of the files that are there, oldest first. */
  present(id: string): Promise<readonly string[]>
  /** The asciicast as text, of all that is kept, newest part last; every part begins with a header of its own. */
  parts(id: string): Promise<readonly string[]>
  list(): Promise<readonly RecordingFacts[]>
  /** Removes the oldest ended recordings until all together have at most so many bytes. */
  prune(maxBytes: number): Promise<void>
}

export function createRecordingFiles(instanceFolder: string): RecordingFiles {
  const folder = join(instanceFolder, 'terminal', 'recordings')
  const path = (id: string, suffix: string) => {
    if (!ID.test(id)) throw mhvError('MHV_TERMINAL_RECORDING_UNKNOWN', 'that is no id of a session')
    return join(folder, id + suffix)
  }
  const current = (id: string) => path(id, '.cast.gz')
  const before = (id: string) => path(id, '.0.cast.gz')

  async function facts(id: string): Promise<RecordingFacts | null> {
    const text = await readFile(path(id, '.json'), 'utf8').catch(absent)
    if (text === null) return null
    const read = JSON.parse(text) as RecordingFacts
    if (read.format === RECORDING_FORMAT) return read
    throw mhvError(
      'MHV_TERMINAL_RECORDING_UNKNOWN',
      `the recording has format ${read.format}, which this version does not know`,
    )
  }

  async function list(): Promise<readonly RecordingFacts[]> {
    const names = (await readdir(folder).catch(absent)) ?? []
    const ids = names.flatMap((name) => (name.endsWith('.json') ? [name.slice(0, -'.json'.length)] : []))
    const read = await Promise.all(ids.map((id) => facts(id).catch(() => null)))
    return read.flatMap((each) => each ?? []).sort((a, b) => a.started_at - b.started_at)
  }

  const sizeOf = async (file: string) => (await stat(file).catch(absent))?.size ?? 0

  return {
    folder,
    current,
    facts,
    list,
    async writeFacts(written) {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const file = path(written.session, '.json')
      await writeFile(`${file}.new`, JSON.stringify(written), { mode: 0o600 })
      await rename(`${file}.new`, file)
    },
    async append(id, member) {
      await mkdir(folder, { recursive: true, mode: 0o700 })
      const file = await open(current(id), 'a', 0o600)
      try {
        await file.appendFile(member)
      } finally {
        await file.close()
      }
    },
    rotate: (id) => rename(current(id), before(id)),
    async cutTo(id, bytes) {
      if ((await sizeOf(current(id))) > bytes) await truncate(current(id), bytes)
    },
    async present(id) {
      const files = [before(id), current(id)]
      const sizes = await Promise.all(files.map(sizeOf))
      return files.filter((_, index) => (sizes[index] as number) > 0).map((file) => basename(file))
    },
    async parts(id) {
      const files = await Promise.all([before(id), current(id)].map((file) => readFile(file).catch(absent)))
      const present = files.filter((each) => each !== null && each.length > 0) as Buffer[]
      return Promise.all(present.map(async (bytes) => (await gunzip(bytes)).toString('utf8')))
    },
    async prune(maxBytes) {
      const all = await list()
      const sizes = await Promise.all(
        all.map(async ({ session }) => (await sizeOf(current(session))) + (await sizeOf(before(session)))),
      )
      let total = sizes.reduce((sum, each) => sum + each, 0)
      for (const [index, { session, ended_at }] of all.entries()) {
        if (total <= maxBytes) return
        if (ended_at === null) continue
        for (const suffix of ['.cast.gz', '.0.cast.gz', '.json']) await rm(path(session, suffix), { force: true })
        total -= sizes[index] as number
      }
    },
  }
}

function absent(error: unknown): null {
  if (systemCode(error) === 'ENOENT') return null
  throw error
}
