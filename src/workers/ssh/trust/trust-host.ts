import { z } from 'zod'
import { defineOperation } from '../../../core/operation.ts'
import { CONNECT_ERRORS } from '../connect-codes.ts'
import type { SshContext } from '../run-command.ts'

const input = z.object({
  accept: z
    .string()
    .regex(/^SHA256:[A-Za-z0-9+/]{43}$/, { error: 'must be a fingerprint as it was shown: SHA256: and 43 characters' })
    .optional()
    .describe('fingerprint of the key to trust, one of those that the host shows; without it, nothing is changed'),
})

const knownKey = z.object({
  type: z.string(),
  fingerprint: z.string(),
  place: z.string().describe('file:line'),
})

const output = z.object({
  host: z.string().describe('host:port that was asked'),
  name: z.string().describe('name under which the host stands in known_hosts'),
  keys: z
    .array(
      z.object({
        type: z.string().describe('type of the key, as ssh-keygen names it: ssh-ed25519'),
        fingerprint: z.string().describe('as ssh-keygen -l shows it'),
        state: z
          .enum(['known', 'unknown', 'changed', 'revoked'])
          .describe('what known_hosts says; changed: the host is known by other keys'),
        known_hosts: z.string().nullable().describe('file:line that decided it'),
        known_keys: z.array(knownKey).describe('of a changed key, the keys that known_hosts has for the host'),
      }),
    )
    .describe('keys whose possession the host has proved, one of each type'),
  recorded: z.string().nullable().describe('fingerprint that was written down; null where nothing was changed'),
  file: z.string().nullable().describe('file to which it was written'),
})

export type TrustInput = z.output<typeof input>
export type TrustData = z.output<typeof output>

/** Seconds for the handshakes; those with jump hosts on the way are within `connect_timeout` themselves. */
const TIMEOUT = 60

export const trustHost = defineOperation({
  id: 'ssh.trust_host',
  title: 'Look at the keys of an SSH host, and trust one',
  summary: 'Shows the fingerprints of the keys that a host presents, and writes down the one that is accepted.',
  description:
    'Without `accept` nothing is changed and no credential is used. Compare a fingerprint with the host itself ' +
    '(`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on its console), then call again with exactly that one: its ' +
    'key is appended to known_hosts in the instance folder, with who trusted it and when. A host that is known by ' +
    'another key is refused, with both fingerprints and the lines in question.',
  effect: 'write',
  effectOf: ({ accept }) => (accept === undefined ? 'read' : 'write'),
  idempotent: true,
  input,
  output,
  errors: [...CONNECT_ERRORS, 'MHV_SSH_TRUST_REFUSED'],
  timeout: TIMEOUT,
  examples: [
    { title: 'The keys of a host', target: 'web-1', input: {} },
    {
      title: 'Trust the key whose fingerprint was compared',
      target: 'web-1',
      input: { accept: 'SHA256:uNiVztksCsDhcc0u9e8BrNJNDDCTYhbsF2Y5dmyJ6Nw' },
    },
  ],
  async run(ctx: SshContext, request: TrustInput): Promise<TrustData> {
    const { trust } = await import('./trust.ts')
    return trust(ctx, request)
  },
  summarize: ({ host, keys, recorded, file }) => {
    const lines = keys.map(({ type, fingerprint, state }) => `${state.padEnd(7)}  ${type}  ${fingerprint}`)
    const end = recorded === null ? [] : [`${recorded} is trusted from now on (${file})`]
    return { output: [host, ...lines, ...end].join('\n') }
  },
})
