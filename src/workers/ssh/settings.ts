import { z } from 'zod'
import { secretReference } from '../../core/secret-reference.ts'

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
  max_connections: z.number().int().min(1).max(1000).default(50).describe('connections to all hosts together'),
  max_connections_per_host: z.number().int().min(1).max(1000).default(10).describe('connections to one target'),
  max_channels_per_connection: z
    .number()
    .int()
    .min(1)
    .max(64)
    .default(8)
    .describe('commands at once on one connection; sshd allows 10 (MaxSessions), and ending a command needs one more'),
  connection_ttl: seconds(86_400).default(300).describe('seconds after which an idle connection is closed'),
  keepalive_interval: seconds(3_600).default(15).describe('seconds between questions whether the host is still there'),
  keepalive_count_max: z.number().int().min(1).max(100).default(3).describe('unanswered ones that end the connection'),
  connect_timeout: seconds(600)
    .default(30)
    .describe('seconds for name resolution, TCP, handshake and authentication together'),
  command_timeout: seconds(86_400).default(300).describe('seconds a command may take when the call names no timeout'),
  kill_grace: seconds(60)
    .default(5)
    .describe('seconds between TERM and KILL when a command is ended at its deadline or by a cancellation'),
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
  ciphers: z
    .array(z.enum(CIPHERS))
    .min(1)
    .default([...CIPHERS])
    .describe('ciphers in the order in which they are wanted'),
})

export type SshSettings = z.output<typeof sshSettings>

/** What names and addresses are made of; the rest are patterns of known_hosts, white space, or another field. */
const HOST = /^(?!-)[^\s\x00-\x20\x7f/@*?!,|#"'\\]+$/u
const USER = /^(?!-)[^\x00-\x1f\x7f]+$/u

export const sshTarget = z.object({
  host: z
    .string()
    .max(255)
    .regex(HOST, { error: 'must be a host name or address: no white space, no control characters, no leading dash' })
    .describe('host name or address'),
  port: z.number().int().min(1).max(65_535).default(22),
  user: z
    .string()
    .max(255)
    .regex(USER, { error: 'must be a user name: no control characters, no leading dash' })
    .describe('user to log in as'),
  identity_files: z
    .array(path())
    .max(20)
    .default([])
    .describe('private keys, tried in this order; ~ is the home folder, relative paths start in the instance folder'),
  passphrase: secretReference().optional().describe('secret reference: passphrase of the identity files'),
  password: secretReference().optional().describe('secret reference: password, tried last'),
  agent: z
    .union([z.boolean(), path()])
    .default(false)
    .describe('keys of an ssh-agent, tried first: true for the one at SSH_AUTH_SOCK, or the path of its socket'),
  host_key_alias: z
    .string()
    .max(255)
    .regex(HOST, { error: 'must be a name as it stands in known_hosts' })
    .optional()
    .describe('name under which the host stands in known_hosts, instead of host and port'),
  known_hosts: z.array(path()).max(20).optional().describe('files to read instead of the setting known_hosts'),
})

export type SshTarget = z.output<typeof sshTarget>
