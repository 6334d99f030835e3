import { z } from 'zod'
import { defineOperation } from '../../../core/operation.ts'
import { visibleJson } from '../../../core/visible-text.ts'
import { CONNECT_ERRORS } from '../connect-codes.ts'
import type { SshSettings } from '../settings.ts'
import { RESULT_FILES } from './limits.ts'
import { size } from './meter.ts'
import type { TransferContext } from './types.ts'

export const DIRECTIONS = ['upload', 'download'] as const
export const VERIFIES = ['sha256', 'size'] as const
export const OVERWRITES = ['always', 'never', 'if_different'] as const
export const SYMLINKS = ['skip', 'follow', 'refuse', 'copy'] as const

const path = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .refine((value) => value.isWellFormed() && !value.includes('\0'), {
      error: 'must be well-formed Unicode without NUL characters',
    })
const remotePath = path(4_096).refine((value) => !value.startsWith('~'), {
  error: 'relative paths start in the home folder: leave the ~ out',
})

const input = z.object({
  direction: z
    .enum(DIRECTIONS)
    .describe('upload: from this machine to the host; download: from the host to this machine'),
  files: z
    .array(
      z.object({
        local: path(4_096).describe('path on this machine, in one of the folders of ssh.local_roots'),
        remote: remotePath.describe('path on the host; a relative one starts in the home folder of the user'),
      }),
    )
    .min(1)
    .max(1_000)
    .describe(
      'pairs of a local and a remote path. The source may have * and ? in it; a target that ends with / is a folder to put the source into',
    ),
  recursive: z
    .boolean()
    .default(false)
    .describe('a source that is a folder is brought over whole, to the target of its pair'),
  glob: z.boolean().default(true).describe('whether * and ? in a source stand for other characters'),
  parents: z.boolean().default(false).describe('makes missing folders above the targets'),
  overwrite: z
    .enum(OVERWRITES)
    .default('always')
    .describe(
      'what to do with a target that exists: replace it, leave it, or replace it only where the content differs',
    ),
  verify: z
    .enum(VERIFIES)
    .default('sha256')
    .describe('sha256: both sides read and hash every file before it gets its name; size: only its length is compared'),
  verify_readback: z
    .boolean()
    .default(false)
    .describe('where the host has no program for SHA-256, reads its files back to hash them here'),
  fsync: z
    .boolean()
    .default(true)
    .describe('makes each file durable before it gets its name, where the receiving side can'),
  resume: z
    .boolean()
    .default(false)
    .describe('keeps what arrived of a file when the transfer breaks off, and goes on from there the next time'),
  preserve_mode: z.boolean().default(true).describe('gives the target the permission bits of the source'),
  preserve_mtime: z.boolean().default(false).describe('gives the target the time of the last change of the source'),
  symlinks: z
    .enum(SYMLINKS)
    .default('skip')
    .describe('what to do with symbolic links in trees and patterns; one that is named itself is followed'),
  bandwidth_limit: z.number().int().min(1_024).optional().describe('most bytes per second of this transfer'),
})

const fileResult = z.object({
  local: z.string(),
  remote: z.string(),
  bytes: z.number().int().describe('size of the file'),
  sha256: z.string().nullable().describe('null where it was not computed'),
  verified: z
    .enum([...VERIFIES, 'none'])
    .describe('what was compared on both sides; none for links and what was skipped'),
  seconds: z.number(),
  resumed_from: z.number().int().describe('bytes that were there from an earlier attempt'),
  skipped: z.string().nullable().describe('why it was not brought over; null where it was'),
})

const output = z.object({
  direction: z.enum(DIRECTIONS),
  transferred: z.number().int().describe('files and links that have got their names'),
  skipped: z.number().int(),
  folders: z.number().int().describe('folders that were made or found'),
  bytes: z.number().int().describe('bytes of the files that were brought over'),
  seconds: z.number(),
  bytes_per_second: z.number(),
  verified: z.enum(VERIFIES).describe('how every file was verified'),
  durable: z
    .enum(['yes', 'no', 'unsupported'])
    .describe('whether every file was synced; unsupported: the server cannot'),
  files: z.array(fileResult).max(RESULT_FILES).describe('the first ones; the output of the run has a line for each'),
  files_left_out: z.number().int().describe('files that are only in the output of the run'),
  notes: z.array(z.string()).describe('what else somebody should know'),
})

export type TransferInput = z.output<typeof input>
export type TransferData = z.output<typeof output>
export type FileResult = z.output<typeof fileResult>

export const sftpTransfer = defineOperation({
  id: 'ssh.sftp_transfer',
  title: 'Transfer files over SFTP',
  summary: 'Uploads or downloads files and whole folders; each is verified and then gets its name at once.',
  description:
    'A file arrives under a temporary name beside its target, is compared by SHA-256 on both sides, synced and renamed, so ' +
    'nobody ever sees a part of it. A transfer that fails leaves targets that were not finished as they were. Local ' +
    'paths must lie in ssh.local_roots.',
  effect: 'write',
  // The same input ends in the same state: what is there already is replaced by the same, or left.
  idempotent: true,
  input,
  output,
  errors: [
    ...CONNECT_ERRORS,
    'MHV_SSH_CONNECTION_LOST',
    'MHV_SSH_CHANNEL_REFUSED',
    'MHV_SSH_POOL_EXHAUSTED',
    'MHV_SSH_SHELL_UNSUPPORTED',
    'MHV_SSH_SFTP_UNSUPPORTED',
    'MHV_SSH_SFTP_NOT_FOUND',
    'MHV_SSH_SFTP_PERMISSION',
    'MHV_SSH_SFTP_EXISTS',
    'MHV_SSH_SFTP_NO_SPACE',
    'MHV_SSH_SFTP_FAILED',
    'MHV_SSH_TRANSFER_SOURCE',
    'MHV_SSH_TRANSFER_TARGET',
    'MHV_SSH_TRANSFER_NAME',
    'MHV_SSH_TRANSFER_CHANGED',
    'MHV_SSH_TRANSFER_MISMATCH',
    'MHV_SSH_TRANSFER_UNVERIFIED',
    'MHV_SSH_TRANSFER_PARTIAL',
    'MHV_LOCAL_OUTSIDE_ROOTS',
    'MHV_LOCAL_NOT_FOUND',
    'MHV_LOCAL_NOT_A_FILE',
    'MHV_LOCAL_NO_SPACE',
    'MHV_LOCAL_FAILED',
  ],
  timeout: (settings: SshSettings) => Math.max(settings.command_timeout, 3_600),
  examples: [
    {
      title: 'One file to a host',
      target: 'web-1',
      input: { direction: 'upload', files: [{ local: 'app.conf', remote: '/etc/app/app.conf' }] },
    },
    {
      title: 'A whole folder from a host, with the times of its files',
      target: 'web-1',
      input: {
        direction: 'download',
        files: [{ local: 'logs/web-1', remote: '/var/log/nginx' }],
        recursive: true,
        parents: true,
        preserve_mtime: true,
      },
    },
    {
      title: 'All reports of one kind, at one megabyte per second, only where they differ',
      target: 'web-1',
      input: {
        direction: 'upload',
        files: [{ local: 'reports/*.csv', remote: 'incoming/' }],
        overwrite: 'if_different',
        bandwidth_limit: 1_000_000,
      },
    },
  ],
  summarize: (data) => ({ output: summaryOf(data) }),
  async run(ctx: TransferContext, transfer: TransferInput): Promise<TransferData> {
    const { runTransfer } = await import('./run-transfer.ts')
    return runTransfer(ctx, transfer)
  },
})

function summaryOf(data: TransferData): string {
  const { direction, transferred, skipped, bytes, seconds, bytes_per_second: rate, verified, durable, notes } = data
  const done = direction === 'upload' ? 'uploaded' : 'downloaded'
  const facts = [
    `${transferred} ${transferred === 1 ? 'file' : 'files'} ${done}, ${size(bytes)} in ${seconds.toFixed(1)} s (${size(rate)}/s)`,
    `verified by ${verified}`,
    ...(durable === 'no' ? [] : [durable === 'yes' ? 'synced' : 'not synced: the server cannot']),
    ...(skipped > 0 ? [`${skipped} skipped`] : []),
  ]
  const reasons = data.files.flatMap((file) =>
    file.skipped === null ? [] : [`skipped ${visibleJson(file.remote)}: ${file.skipped}`],
  )
  return [facts.join('; '), ...reasons, ...notes].map((line) => `${line}\n`).join('')
}
