import { z } from 'zod'
import { defineOperation } from '../../../core/operation.ts'
import type { SshContext } from '../run-command.ts'
import { entryLine, remoteEntry } from './remote-entry.ts'
import { remotePath, SFTP_ERRORS, SFTP_TIMEOUT } from './remote-path.ts'

const input = z.object({
  path: remotePath().default('.').describe('folder on the host; a relative one starts in the home folder'),
  recursive: z.boolean().default(false).describe('also what lies in folders below it; links are never followed'),
  limit: z.number().int().min(1).max(10_000).default(1_000).describe('most entries that are returned'),
})

const output = z.object({
  entries: z.array(remoteEntry).describe('sorted by name within each folder'),
  truncated: z.boolean().describe('there are more entries than the limit'),
  hostile_names: z.number().int().describe('names that no file system has (`../x`), left out'),
})

export type ListInput = z.output<typeof input>
export type ListData = z.output<typeof output>

export const sftpList = defineOperation({
  id: 'ssh.sftp_list',
  title: 'List a folder over SFTP',
  summary: 'Lists the files and folders in a folder of a host.',
  effect: 'read',
  idempotent: true,
  input,
  output,
  errors: [...SFTP_ERRORS, 'MHV_SSH_SFTP_HOSTILE'],
  timeout: SFTP_TIMEOUT,
  examples: [
    { title: 'The home folder', target: 'web-1', input: {} },
    { title: 'A whole tree', target: 'web-1', input: { path: '/srv/app', recursive: true, limit: 5_000 } },
  ],
  async run(ctx: SshContext, request: ListInput): Promise<ListData> {
    const { listFolder } = await import('./remote-operations.ts')
    return listFolder(ctx, request)
  },
  summarize: ({ entries, truncated, hostile_names }) => ({
    output: [
      ...entries.map(entryLine),
      ...(truncated ? ['… more than the limit'] : []),
      ...(hostile_names > 0 ? [`${hostile_names} hostile names were left out`] : []),
    ].join('\n'),
  }),
})
