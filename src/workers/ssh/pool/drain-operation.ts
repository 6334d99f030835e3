import { z } from 'zod'
import type { OperationContext } from '../../../core/context.ts'
import { defineOperation } from '../../../core/operation.ts'
import type { SshPool } from '../pool.ts'
import type { SshSettings } from '../settings.ts'

const input = z.object({
  host: z.string().min(1).max(300).optional().describe('only this host, or host and port; without it, all of them'),
  wait_seconds: z
    .number()
    .min(0)
    .max(3_600)
    .default(30)
    .describe('seconds for what runs on the connections to end by itself'),
  force: z
    .boolean()
    .default(false)
    .describe('closes them then, whatever runs there: what becomes of those commands is unknown'),
})

const output = z.object({
  closed: z.number().int().describe('connections that were closed with nothing running on them'),
  cut: z.number().int().describe('connections that were closed while something ran on them'),
  left: z.number().int().describe('connections that are closed as soon as what runs on them has ended'),
  running: z.number().int().describe('commands, transfers and terminals on those'),
})

export const drainPool = defineOperation({
  id: 'ssh.drain',
  title: 'Drain SSH connections',
  summary: 'Closes the connections to one host or to all, once what runs on them has ended.',
  description:
    'From the beginning on, these connections take nothing new: calls that come get new ones, with the credentials, host ' +
    'keys and server settings of now. Nothing is cut off unless `force` is given.',
  effect: 'destroy',
  // By force it cuts off what others run.
  effectOf: ({ force }) => (force ? 'destroy' : 'write'),
  idempotent: true,
  targeted: false,
  input,
  output,
  errors: [],
  timeout: 3_700,
  examples: [
    { title: 'All hosts, before maintenance', input: {} },
    {
      title: 'One host, and not for longer than five minutes',
      input: { host: 'web-1:22', wait_seconds: 300, force: true },
    },
  ],
  run({ connection, signal }: OperationContext<SshPool, SshSettings>, { host, wait_seconds, force }) {
    return connection.drain({ host, waitMs: wait_seconds * 1000, force, signal })
  },
  summarize({ closed, cut, left, running }) {
    const said = [`${closed} closed`]
    if (cut > 0) said.push(`${cut} cut off`)
    if (left > 0) said.push(`${left} still in use (${running} running)`)
    return { output: `${said.join(', ')}\n` }
  },
})
