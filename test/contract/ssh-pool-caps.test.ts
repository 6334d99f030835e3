import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ClientChannel } from 'ssh2'
import { toMhvError } from '../../src/core/errors.ts'
import { openPlace } from '../../src/workers/ssh/open-channel.ts'
import { startWorker, targetOf } from '../helpers/ssh-context.ts'
import { sshdMissing, startSshd } from '../helpers/sshd.ts'
import { type ConnectionCount, startTcpProxy } from '../helpers/tcp-proxy.ts'

/**
 * A thousand callers against OpenSSH's sshd. Connections are counted by a proxy before it, sessions by sshd's own log:
 * neither asks the pool.
 */

const skip = sshdMissing()
const CALLERS = 1_000

interface Caps {
  readonly perHost: number
  readonly all: number
  readonly perConnection: number
  readonly maxSessions: number
  readonly maxStartups: number
  readonly backpressure: 'wait' | 'reject_new'
}

const caps: fc.Arbitrary<Caps> = fc.record({
  perHost: fc.integer({ min: 1, max: 6 }),
  all: fc.integer({ min: 1, max: 8 }),
  perConnection: fc.integer({ min: 1, max: 8 }),
  maxSessions: fc.constantFrom(1, 2, 10),
  maxStartups: fc.constantFrom(2, 100),
  backpressure: fc.constantFrom('wait', 'reject_new'),
})

function closed(channel: ClientChannel): Promise<void> {
  channel.resume()
  channel.stderr.resume()
  channel.end()
  return new Promise((resolve) => channel.once('close', () => resolve()))
}

/** Most sessions that were open at once on one connection, and the most commands, by what sshd logged. */
function sessionsIn(log: string): { readonly perConnection: number; readonly commands: number } {
  const open = new Map<string, number>()
  let perConnection = 0
  let commands = 0
  for (const line of log.split('\n')) {
    const start = /^Starting session: .* from \S+ port (\d+) id (\d+)/.exec(line)
    const end = /^Close session: .* from \S+ port (\d+) id (\d+)/.exec(line)
    const port = (start ?? end)?.[1]
    if (port === undefined) continue
    const now = (open.get(port) ?? 0) + (start ? 1 : -1)
    open.set(port, now)
    commands += start ? 1 : 0
    perConnection = Math.max(perConnection, now)
  }
  return { perConnection, commands }
}

async function storm(limits: Caps): Promise<void> {
  const sshd = await startSshd({ maxSessions: limits.maxSessions, config: [`MaxStartups ${limits.maxStartups}`] })
  const all: ConnectionCount = { open: 0, most: 0 }
  const other = await startTcpProxy({ port: sshd.port }, all)
  const proxy = await startTcpProxy({ port: sshd.port }, all)
  const worker = await startWorker({
    settings: {
      max_connections: limits.all,
      max_connections_per_host: limits.perHost,
      max_channels_per_connection: limits.perConnection,
      pool_backpressure: limits.backpressure,
    },
  })
  try {
    const alias = `[127.0.0.1]:${sshd.port}`
    // Two hosts by address; the first is called in two ways that share no connection.
    const targets = [
      targetOf(sshd, { port: proxy.port, host_key_alias: alias }),
      targetOf(sshd, { port: proxy.port, host_key_alias: alias, agent: '/no/such/agent' }),
      targetOf(sshd, { port: other.port, host_key_alias: alias }),
    ]
    const signal = AbortSignal.timeout(60_000)
    const codes = new Map<string, number>()
    await Promise.all(
      Array.from({ length: CALLERS }, async (_, number) => {
        const target = targets[number % targets.length] as (typeof targets)[number]
        const call = { target, settings: worker.settings, secrets: worker.secrets, signal }
        try {
          await closed(await openPlace(worker.pool, call, (lease) => lease.exec(':')))
          codes.set('done', (codes.get('done') ?? 0) + 1)
        } catch (error) {
          const { code } = toMhvError(error)
          codes.set(code, (codes.get(code) ?? 0) + 1)
        }
      }),
    )
    const told = JSON.stringify([limits, [...codes], proxy.most(), other.most(), all.most])
    assert.ok(proxy.most() <= Math.min(limits.perHost, limits.all), told)
    assert.ok(other.most() <= Math.min(limits.perHost, limits.all), told)
    assert.ok(all.most <= limits.all, told)
    assert.equal(worker.pool.stats().channels, 0, told)
    const { perConnection, commands } = sessionsIn(await sshd.log())
    assert.ok(perConnection <= Math.min(limits.perConnection, limits.maxSessions), `${perConnection} ${told}`)
    const done = codes.get('done') ?? 0
    assert.ok(commands >= done && done > 0, `${commands} sessions ${told}`)
    const others = [...codes.keys()].filter((code) => code !== 'done' && code !== 'MHV_SSH_POOL_EXHAUSTED')
    assert.deepEqual(others, [], told)
    if (limits.backpressure === 'wait') assert.equal(done, CALLERS, told)
  } finally {
    await worker.close()
    await Promise.all([proxy.close(), other.close()])
    await sshd.stop()
  }
}

test('SSH-05: a thousand callers never have more connections or channels than the caps', { skip }, async () => {
  const examples: [Caps][] = [
    [{ perHost: 3, all: 4, perConnection: 4, maxSessions: 10, maxStartups: 100, backpressure: 'wait' }],
    [{ perHost: 2, all: 3, perConnection: 8, maxSessions: 1, maxStartups: 2, backpressure: 'wait' }],
    [{ perHost: 10, all: 50, perConnection: 8, maxSessions: 10, maxStartups: 100, backpressure: 'reject_new' }],
  ]
  await fc.assert(
    fc.asyncProperty(caps, (limits) => storm(limits)),
    { seed: 5, numRuns: 5, examples, endOnFailure: true },
  )
})
