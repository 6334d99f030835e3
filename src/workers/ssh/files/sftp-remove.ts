import { z } from 'zod'
import { defineOperation } from '../../../core/operation.ts'
import type { SshContext } from '../run-command.ts'
import { remotePath, SFTP_ERRORS, SFTP_TIMEOUT } from './remote-path.ts'

/** No name at the end, as rm(1) refuses it: `x/..` leads up as `..` does. */
const ENDS_NOWHERE = /(^|\/)\.{0,2}$/

const input = z.object({
  paths: z
    .array(
      remotePath()
        // With a slash behind it, a link would be followed.
        .overwrite((path) => path.replace(/\/+$/, ''))
        .refine((path) => !ENDS_NOWHERE.test(path), {
          error:
            'must end in a name, not in `.` or `..`: the root, the home folder and what lies above are not removed',
        }),
    )
    .min(1)
    .max(1_000)
    .describe('files and folders on the host; relative paths start in the home folder'),
  recursive: z.boolean().default(false).describe('folders with all that is in them; links are removed, not followed'),
  missing_ok: z.boolean().default(false).describe('what is not there counts as removed'),
})

const output = z.object({
  removed: z.number().int().describe('files, links and folders that were removed'),
  missing: z.array(z.string()).describe('paths that were not there'),
})

export type RemoveInput = z.output<typeof input>
export type RemoveData = z.output<typeof output>

export const sftpRemove = defineOperation({
  id: 'ssh.sftp_remove',
  title: 'Remove files over SFTP',
  summary: 'Removes files and folders of a host.',
  description:
    'All paths are looked at first: when one is missing, or is a folder with something in it and recursive is not said, ' +
    'nothing is removed. Links are removed themselves, never what they point at.',
  effect: 'destroy',
  idempotent: false,
  input,
  output,
  errors: [...SFTP_ERRORS, 'MHV_SSH_SFTP_INCOMPLETE', 'MHV_SSH_SFTP_HOSTILE', 'MHV_INPUT_INVALID'],
  timeout: SFTP_TIMEOUT,
  examples: [
    { title: 'A file', target: 'web-1', input: { paths: ['/tmp/old.log'] } },
    { title: 'A whole folder', target: 'web-1', input: { paths: ['/srv/app/releases/41'], recursive: true } },
  ],
  async run(ctx: SshContext, request: RemoveInput): Promise<RemoveData> {
    const { removePaths } = await import('./remote-operations.ts')
    return removePaths(ctx, request)
  },
  summarize: ({ removed, missing }) => ({
    output: [`removed ${removed}`, ...missing.map((path) => `was not there: ${JSON.stringify(path)}`)].join('\n'),
  }),
})
