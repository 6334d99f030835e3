import { z } from 'zod'
import { secretReference } from '../../core/secret-reference.ts'
import { detachedSettings } from './detached/settings.ts'
import { HOST, USER } from './names.ts'
import { poolSettings } from './pool/settings.ts'
import { MAX_JUMPS, parseJump } from './route/jump-spec.ts'

export const HOST_KEY_POLICIES = ['strict', 'accept_new'] as const
export type HostKeyPolicy = (typeof HOST_KEY_POLICIES)[number]

/** Ciphers of ssh2 that are not broken, fastest first (measured: gcm moves 2-3 times what the others do). */
export const CIPHERS = [
  'aes128-gcm@openssh.com',
  'aes256-gcm@openssh.com',
  'chacha20-poly1305@openssh.com',
  'aes128-ctr',
  'aes192-ctr',
  'aes256-ctr',
] as const

const seconds = (max: number) => z.number().positive().max(max)
const path = () => z.string().regex(/^[^\0\r\n]+$/, { error: 'must be a path' })

export const sshSettings = z.object({
  ...poolSettings,
  keepalive_interval: seconds(3_600).default(15).describe('seconds between questions whether the host is still there'),
  keepalive_count_max: z.number().int().min(1).max(100).default(3).describe('unanswered ones that end the connection'),
  connect_timeout: seconds(600)
    .default(30)
    .describe('seconds for name resolution, TCP, handshake and authentication together'),
  command_timeout: seconds(86_400).default(300).describe('seconds a command may take when the call names no timeout'),
  kill_grace: seconds(60)
    .default(5)
    .describe('seconds between TERM and KILL when a command is ended at its deadline or by a cancellation'),
  ...detachedSettings,
  host_key_policy: z
    .enum(HOST_KEY_POLICIES)
    .default('strict')
    .describe(
      'strict: a host must be in known_hosts; accept_new: the key of a new host is taken and kept, a changed one is refused',
    ),
  known_hosts: z
    .array(path())
    .max(20)
    .default(['~/.ssh/known_hosts'])
    .describe('files that are read beside known_hosts in the instance folder; they are never written'),
  config_files: z
    .array(path())
    .max(20)
    .default(['~/.ssh/config'])
    .describe('files of ssh_config that say what the inventory leaves open; an empty list for none'),
  local_roots: z
    .array(path())
    .max(50)
    .default(['files'])
    .describe(
      'folders of this machine that transfers and scripts may read and write; ~ is the home folder, relative ones start in the instance folder; relative paths of a call start in the first',
    ),
  ciphers: z
    .array(z.enum(CIPHERS))
    .min(1)
    .default([...CIPHERS])
    .describe('ciphers in the order in which they are wanted'),
})

export type SshSettings = z.output<typeof sshSettings>

const jump = () =>
  z
    .string()
    .max(600)
    .refine((text) => parseJump(text) !== undefined, { error: 'must be the name of a target, or user@host:port' })

export const sshTarget = z.object({
  host: z
    .string()
    .max(255)
    .regex(HOST, { error: 'must be a host name or address: no white space, no control characters, no leading dash' })
    .describe('host name or address, or a name that ssh_config knows more of'),
  port: z.number().int().min(1).max(65_535).optional().describe('without it, that of ssh_config, or 22'),
  user: z
    .string()
    .max(255)
    .regex(USER, { error: 'must be a user name: no control characters, no leading dash' })
    .optional()
    .describe('user to log in as; without it, that of ssh_config'),
  identity_files: z
    .array(path())
    .max(20)
    .optional()
    .describe(
      'private keys, tried in this order; ~ is the home folder, relative paths start in the instance folder; ' +
        'without them, those of ssh_config',
    ),
  passphrase: secretReference().optional().describe('secret reference: passphrase of the identity files'),
  password: secretReference().optional().describe('secret reference: password, tried last'),
  agent: z
    .union([z.boolean(), path()])
    .default(false)
    .describe('keys of an ssh-agent, tried first: true for the one at SSH_AUTH_SOCK, or the path of its socket'),
  agent_forward: z
    .boolean()
    .default(false)
    .describe('lets commands on the host use the agent: whoever is root there can too; never done on jump hosts'),
  proxy_jump: z
    .union([jump(), z.array(jump()).min(1).max(MAX_JUMPS)])
    .optional()
    .describe(
      'jump hosts on the way, the nearest first: names of targets, or user@host:port; without it, those of ssh_config; none for a direct way',
    ),
  host_key_alias: z
    .string()
    .max(255)
    .regex(HOST, { error: 'must be a name as it stands in known_hosts' })
    .optional()
    .describe('name under which the host stands in known_hosts, instead of host and port'),
  known_hosts: z.array(path()).max(20).optional().describe('files to read instead of the setting known_hosts'),
})

/** A target as the worker gets it. */
export type SshTarget = z.output<typeof sshTarget> & {
  /** The targets among its jump hosts, by name. Put in by the inventory, so that a process of its own has them too. */
  readonly jump_targets?: Readonly<Record<string, SshTarget>>
}
