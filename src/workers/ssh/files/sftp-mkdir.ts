import { z } from 'zod'
import { defineOperation } from '../../../core/operation.ts'
import type { SshContext } from '../run-command.ts'
import { remotePath, SFTP_ERRORS, SFTP_TIMEOUT } from './remote-path.ts'

const input = z.object({
  path: remotePath().describe('folder on the host; a relative path starts in the home folder'),
  parents: z.boolean().default(true).describe('makes the missing folders on the way as well'),
  mode: z
    .string()
    .regex(/^0?[0-7]{3,4}$/, { error: 'must be permission bits in octal: 0755' })
    .default('0755')
    .describe("permission bits in octal of what is made, less the host's umask"),
})

const output = z.object({
  created: z.array(z.string()).describe('folders that were made, outermost first; empty where all were there'),
})

export type MkdirInput = z.output<typeof input>
export type MkdirData = z.output<typeof output>

export const sftpMkdir = defineOperation({
  id: 'ssh.sftp_mkdir',
  title: 'Make a folder over SFTP',
  summary: 'Makes a folder on a host; one that is there already is left as it is.',
  effect: 'write',
  idempotent: true,
  input,
  output,
  errors: [...SFTP_ERRORS, 'MHV_SSH_SFTP_EXISTS', 'MHV_SSH_SFTP_NO_SPACE'],
  timeout: SFTP_TIMEOUT,
  examples: [{ title: 'A folder for releases', target: 'web-1', input: { path: '/srv/app/releases' } }],
  async run(ctx: SshContext, request: MkdirInput): Promise<MkdirData> {
    const { makeFolder } = await import('./remote-operations.ts')
    return makeFolder(ctx, request)
  },
  summarize: ({ created }) => ({
    output: created.length === 0 ? 'it was there already' : created.map((path) => `made ${path}`).join('\n'),
  }),
})
