import { EventEmitter } from 'node:events'
import { PassThrough } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import type { ClientChannel } from 'ssh2'
import type { Clock } from '../../src/core/clock.ts'
import { mhvError } from '../../src/core/errors.ts'
import type { SshConnection } from '../../src/workers/ssh/connection.ts'
import { openChannel } from '../../src/workers/ssh/open-channel.ts'
import type { PoolCall } from '../../src/workers/ssh/pool.ts'
import { type SshSettings, sshTarget } from '../../src/workers/ssh/settings.ts'
import { startWorker } from './ssh-context.ts'

/** Connections without a network: channels that open at once and stay open until told. */

export interface FakeConnection extends SshConnection {
  /** Host of the target that it goes to. */
  readonly to: string
  /** Whether it answers a ping. */
  answers: boolean
  readonly open: FakeChannel[]
  lose(): void
}

export class FakeChannel extends PassThrough {
  readonly stderr = new PassThrough()
  line = ''
  finish() {
    this.emit('close')
  }
  close() {
    this.finish()
  }
}

/** Decides about the sessions of one connection. */
export interface SessionGate {
  /** Resolves when the host has confirmed another session, or rejects; the returned function says that it was closed. */
  admit(): Promise<() => void>
}

function fakeConnection(to: string, maxSessions = Number.POSITIVE_INFINITY, gate?: SessionGate): FakeConnection {
  const events = new EventEmitter()
  const open: FakeChannel[] = []
  let alive = true
  const lose = () => {
    if (!alive) return
    alive = false
    events.emit('lost')
    for (const channel of [...open]) channel.finish()
  }
  const connection: FakeConnection = {
    to,
    answers: true,
    client: undefined as never,
    endpoint: 'fake:22',
    sockets: 1,
    open,
    lose,
    alive: () => alive,
    onLost(listener) {
      events.once('lost', listener)
      return () => events.off('lost', listener)
    },
    gone: new Promise((resolve) => events.once('lost', () => resolve())),
    ping: async () => connection.answers,
    async exec(line) {
      const closed = gate ? await gate.admit() : await turn()
      if (!alive) throw mhvError('MHV_SSH_CONNECT_FAILED', 'lost before')
      if (open.length >= maxSessions) throw mhvError('MHV_SSH_CHANNEL_REFUSED', 'no more')
      const channel = new FakeChannel()
      channel.line = line
      open.push(channel)
      channel.once('close', () => open.splice(open.indexOf(channel), 1))
      if (closed) channel.once('close', closed)
      if (line.startsWith('echo mahavishnu-')) answerProbe(channel, line)
      return channel as unknown as ClientChannel
    },
    sftp: () => Promise.reject(new Error('no SFTP here')),
    pty: () => Promise.reject(new Error('no terminal here')),
    forward: () => Promise.reject(new Error('no tunnel here')),
    exitOf: () => ({ code: 0, signal: null }),
    wasCut: () => false,
    async close() {
      lose()
    },
  }
  return connection
}

function answerProbe(channel: FakeChannel, line: string): void {
  const marker = line.split(' ')[1]
  Object.assign(channel, { eof() {} })
  channel.end(`${marker} /bin/bash\n${marker} + yes\n`)
  channel.stderr.end()
  channel.once('end', () => channel.emit('close'))
  channel.stderr.once('end', () => channel.stderr.emit('close')).resume()
}

const target = sshTarget.parse({ host: 'h', user: 'u' })

export async function fakePool(
  settings: Partial<SshSettings> = {},
  options: { maxSessions?: number; fail?: () => Error | undefined; clock?: Clock; gate?: () => SessionGate } = {},
) {
  const made: FakeConnection[] = []
  const worker = await startWorker({
    settings: { pool_backpressure: 'wait', ...settings },
    ...(options.clock && { clock: options.clock }),
    parts: {
      // `a-1` and `a-2` are the host `a`, as ssh_config might have it.
      route: async ({ host, port = 22, user = 'u' }) => [{ host: host.split('-')[0], port, user }] as never,
      async connect(request) {
        await turn()
        const error = options.fail?.()
        if (error) throw error
        const connection = fakeConnection(request.target.host, options.maxSessions, options.gate?.())
        made.push(connection)
        return connection
      },
    },
  })
  const call = (more: Partial<PoolCall> = {}): PoolCall => ({
    target,
    settings: worker.settings,
    secrets: worker.secrets,
    signal: new AbortController().signal,
    ...more,
  })
  const order: string[] = []
  const run = (name: string, more: Partial<PoolCall> = {}) =>
    openChannel(worker.pool, call(more), () => name).channel.then((channel) => {
      order.push(name)
      return channel as unknown as FakeChannel
    })
  return { worker, made, call, run, order, channels: () => made.flatMap((connection) => connection.open) }
}

export const settled = async () => {
  for (let n = 0; n < 30; n++) await turn()
}
