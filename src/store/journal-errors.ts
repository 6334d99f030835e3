import { statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import type { ErrorCode } from '../core/error-table.ts'
import { MhvError, mhvError, systemCode } from '../core/errors.ts'

/** Primary result codes of SQLite (https://www.sqlite.org/rescode.html); an extended code has one in its low byte. */
const SQLITE = { perm: 3, readonly: 8, ioerr: 10, corrupt: 11, full: 13, cantopen: 14, notadb: 26 } as const

/** Below this many free bytes an input/output error is a lack of room: tmpfs and quotas do not always say ENOSPC. */
const NO_ROOM_BYTES = 64 * 1024

function hasNoRoom(path: string): boolean {
  try {
    const { bavail, bsize } = statfsSync(dirname(path))
    return bavail * bsize < NO_ROOM_BYTES
  } catch {
    return false
  }
}

function primaryCode(thrown: unknown): number | undefined {
  if (typeof thrown !== 'object' || thrown === null || !('errcode' in thrown)) return undefined
  return typeof thrown.errcode === 'number' ? thrown.errcode & 0xff : undefined
}

function codeOf(primary: number | undefined, path: string): ErrorCode {
  if (primary === SQLITE.full) return 'MHV_JOURNAL_FULL'
  if (primary === SQLITE.corrupt || primary === SQLITE.notadb) return 'MHV_JOURNAL_CORRUPT'
  const mayBeRoom = primary === SQLITE.ioerr || primary === SQLITE.cantopen
  return mayBeRoom && hasNoRoom(path) ? 'MHV_JOURNAL_FULL' : 'MHV_JOURNAL_UNAVAILABLE'
}

/** What SQLite threw, as an error of the table, naming the journal's file. An error of the table stays as it is. */
export function journalError(thrown: unknown, path: string): MhvError {
  if (thrown instanceof MhvError) return thrown
  const primary = primaryCode(thrown)
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  if (primary === undefined && systemCode(thrown) !== 'ERR_SQLITE_ERROR') {
    return mhvError('MHV_INTERNAL', `journal ${path}: ${message}`, { cause: thrown })
  }
  const details = { path, sqlite_code: primary ?? null }
  return mhvError(codeOf(primary, path), `journal ${path}: ${message}`, { details, cause: thrown })
}

/** The same while opening, where a file that cannot be opened is the folder's fault. */
export function openingError(thrown: unknown, path: string): MhvError {
  const error = journalError(thrown, path)
  const primary = primaryCode(thrown)
  const cannotOpen = primary === SQLITE.cantopen || primary === SQLITE.perm || primary === SQLITE.readonly
  if (!cannotOpen || error.code !== 'MHV_JOURNAL_UNAVAILABLE') return error
  return mhvError('MHV_INSTANCE_INVALID', error.message, { details: error.details, cause: thrown })
}
