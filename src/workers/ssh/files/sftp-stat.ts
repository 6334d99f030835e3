import { z } from 'zod'
import { defineOperation } from '../../../core/operation.ts'
import { visibleJson } from '../../../core/visible-text.ts'
import type { SshContext } from '../run-command.ts'
import { entryLine, remoteEntry } from './remote-entry.ts'
import { remotePath, SFTP_ERRORS, SFTP_TIMEOUT } from './remote-path.ts'

const input = z.object({
  path: remotePath().describe('file or folder on the host; a relative path starts in the home folder'),
  follow: z.boolean().default(false).describe('of a link, what it points at instead of the link itself'),
})

const output = remoteEntry.extend({
  link_target: z.string().nullable().describe('where a symlink points, as it is written there; null for the rest'),
})

export type StatInput = z.output<typeof input>
export type StatData = z.output<typeof output>

export const sftpStat = defineOperation({
  id: 'ssh.sftp_stat',
  title: 'Look at a file over SFTP',
  summary: 'Returns kind, size, mode and time of a file or folder of a host.',
  effect: 'read',
  idempotent: true,
  input,
  output,
  errors: [...SFTP_ERRORS],
  timeout: SFTP_TIMEOUT,
  examples: [{ title: 'A log file', target: 'web-1', input: { path: '/var/log/syslog' } }],
  async run(ctx: SshContext, request: StatInput): Promise<StatData> {
    const { statPath } = await import('./remote-operations.ts')
    return statPath(ctx, request)
  },
  summarize: ({ link_target, ...entry }) => ({
    output: link_target === null ? entryLine(entry) : `${entryLine(entry)} -> ${visibleJson(link_target)}`,
  }),
})
