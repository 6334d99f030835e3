import { MhvError, mhvError } from '../../../core/errors.ts'
import { plainText } from '../remote-text.ts'
import {
  codeOf,
  type RemoteFiles,
  SFTP_FAILURE,
  SFTP_NO_SUCH_FILE,
  SFTP_PERMISSION_DENIED,
} from '../transfer/remote-files.ts'

/** What was asked of the server when it said no. */
export interface SftpRequest {
  /** In words that go before the path: `list`, `remove`. */
  readonly doing: string
  readonly path: string
  /** `host:port`. */
  readonly endpoint: string
}

/** What the answers mean that say no more than "failure". */
interface Suspicion {
  /** The request makes something that must not be there yet. */
  readonly makes?: boolean
  /** The request writes: the disk may be full. */
  readonly writes?: boolean
}

/** Free bytes below which a server that refuses to write is believed to be full. */
const FULL_BELOW = 64 * 1024

/**
 * The error that a server's answer is, with what can be found out about it: OpenSSH answers a full disk, a name that is
 * taken and a folder that is not empty with the same FAILURE. Errors that are ours already are passed on.
 */
export async function sftpError(
  error: unknown,
  { doing, path, endpoint }: SftpRequest,
  files?: RemoteFiles,
  suspicion: Suspicion = {},
): Promise<MhvError> {
  if (error instanceof MhvError) return error
  const status = codeOf(error)
  const shown = JSON.stringify(path)
  const said = plainText(error instanceof Error ? error.message : String(error))
  const details = { path, ...(status === undefined ? {} : { sftp_status: status }) }
  const made = (code: Parameters<typeof mhvError>[0], message: string) =>
    mhvError(code, `${endpoint}: ${message}`, { details, cause: error })
  if (status === SFTP_NO_SUCH_FILE) return made('MHV_SSH_SFTP_NOT_FOUND', `cannot ${doing} ${shown}: it is not there`)
  if (status === SFTP_PERMISSION_DENIED)
    return made('MHV_SSH_SFTP_PERMISSION', `may not ${doing} ${shown}: permission denied`)
  if (status === SFTP_FAILURE && suspicion.makes === true) {
    if ((await files?.lstat(path).catch(() => undefined)) !== undefined)
      return made('MHV_SSH_SFTP_EXISTS', `cannot ${doing} ${shown}: it is there already`)
  }
  if (status === SFTP_FAILURE && (suspicion.writes === true || suspicion.makes === true)) {
    const free = await files?.freeBytes(folderOf(path)).catch(() => undefined)
    if (free !== undefined && free < FULL_BELOW)
      return made('MHV_SSH_SFTP_NO_SPACE', `cannot ${doing} ${shown}: the disk of the host is full`)
  }
  return made('MHV_SSH_SFTP_FAILED', `cannot ${doing} ${shown}: ${said}`)
}

/** The folder that a remote path lies in; relative paths start in the home folder. */
export function folderOf(path: string): string {
  const at = path.replace(/\/+$/, '').lastIndexOf('/')
  if (at < 0) return '.'
  return at === 0 ? '/' : path.slice(0, at)
}
