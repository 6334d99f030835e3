import { withSftp } from '../open-sftp.ts'
import type { SshContext } from '../run-command.ts'
import { createRemoteFiles, type RemoteFiles } from '../transfer/remote-files.ts'

/** A host's files, and what messages call the host. */
export interface OpenFiles {
  readonly files: RemoteFiles
  /** `host:port`. */
  readonly endpoint: string
}

/** Lends an SFTP session of the run's target. Throws what `withSftp` throws. */
export function onFiles<T>(ctx: SshContext, act: (open: OpenFiles) => Promise<T>): Promise<T> {
  const { connection: pool, settings, secrets, signal } = ctx
  const call = { target: ctx.target.address, settings, secrets, signal }
  return withSftp(pool, call, (sftp, { endpoint }) => act({ files: createRemoteFiles(sftp), endpoint }))
}
