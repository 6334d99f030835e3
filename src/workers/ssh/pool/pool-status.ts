import { z } from 'zod'
import type { OperationContext } from '../../../core/context.ts'
import { defineOperation } from '../../../core/operation.ts'
import type { SshPool } from '../pool.ts'
import type { SshSettings } from '../settings.ts'

const count = (what: string) => z.number().int().describe(what)

const host = z.object({
  host: z.string().describe('host and port'),
  connections: count('open connections'),
  busy: count('those with a channel'),
  idle: count('those without one'),
  connecting: count('connections being made: one at a time'),
  ending: count('of the open ones, those that take nothing new'),
  extra: count('connections beyond the limits, for ending commands'),
  channels: count('commands, transfers and terminals on the connections'),
  waiting: count('calls that wait for a place'),
  max_sessions: count(
    'channels per connection that the host is believed to allow; null where it has refused none',
  ).nullable(),
  oldest_seconds: count('age of the oldest connection').nullable(),
  newest_seconds: count('age of the newest connection').nullable(),
})

const input = z.object({
  host: z.string().min(1).max(300).optional().describe('only this host, or host and port; without it, all of them'),
})

const output = z.object({
  hosts: z.array(host),
  connections: count('connections to all hosts, to jump hosts too'),
  max_connections: count('most there may be'),
  max_connections_per_host: count('most to one host and port'),
  max_channels_per_connection: count('most channels on one connection'),
  backpressure: z.string().describe('what becomes of a call for which there is no room'),
  exhausted: count('calls so far that got no channel'),
  given: count('channels given out so far'),
})

export type PoolStatus = z.output<typeof output>

export const poolStatus = defineOperation({
  id: 'ssh.pool_status',
  title: 'Show the SSH connections',
  summary: 'Tells, for each host, the connections, what runs on them, and who waits.',
  effect: 'read',
  idempotent: true,
  targeted: false,
  input,
  output,
  errors: [],
  timeout: 10,
  examples: [
    { title: 'All hosts', input: {} },
    { title: 'One host', input: { host: 'web-1.example.org' } },
  ],
  async run({ connection, settings }: OperationContext<SshPool, SshSettings>, { host }): Promise<PoolStatus> {
    const stats = connection.stats()
    const { max_connections, max_connections_per_host, max_channels_per_connection, pool_backpressure } = settings
    return {
      hosts: [...connection.status(host)],
      connections: Number(stats.sockets),
      max_connections,
      max_connections_per_host,
      max_channels_per_connection,
      backpressure: pool_backpressure,
      exhausted: Number(stats.exhausted_total),
      given: Number(stats.given_total),
    }
  },
  summarize({ hosts, connections, max_connections }) {
    const lines = hosts.map(
      (host) =>
        `${host.host}: ${host.connections} connections (${host.busy} busy), ${host.channels} channels, ${host.waiting} waiting`,
    )
    return { output: [...lines, `${connections} of ${max_connections} connections`, ''].join('\n') }
  },
})
