import { once } from 'node:events'
import type { ClientChannel } from 'ssh2'
import { mhvError } from '../../../core/errors.ts'
import {
  REMOTE_PTY_SIGNALS,
  type RemotePty,
  type RemotePtyEvents,
  type RemotePtyRequest,
  type RemotePtySession,
} from '../../../core/ports.ts'
import { abandon, type SshConnection } from '../connection.ts'
import { openPlace } from '../open-channel.ts'
import type { PoolCall, SshPool } from '../pool.ts'
import { createStartScanner, newMarker } from '../start-report.ts'
import { createTerminalHost } from './remote-pty-host.ts'
import { terminalLine } from './remote-pty-line.ts'
import { targetContext } from './target-context.ts'

/** TERM as terminfo names terminals. */
const TERM = /^[A-Za-z0-9][A-Za-z0-9+._-]{0,63}$/
/** Most rows or columns that a terminal may have; a program may keep a cell for each. */
const MOST_CELLS = 4096

/** Opens terminals for other workers. A terminal counts as one channel of its connection until it is closed. */
export function createRemotePty(pool: SshPool): RemotePty {
  return {
    async open(request: RemotePtyRequest, events: RemotePtyEvents, signal: AbortSignal): Promise<RemotePtySession> {
      checkRequest(request)
      const { target, settings } = await targetContext(pool, request.target)
      const call: PoolCall = { target: target.address, settings, secrets: pool.context.secrets, signal }
      const { term, rows, cols } = request
      const marker = newMarker()
      const opening = openPlace(pool, call, async (lease) => {
        const command = terminalLine(request.command, lease.shell, marker)
        const pty = { term, rows, cols, ...(command === undefined ? {} : { command }) }
        return { channel: await lease.pty(pty), connection: lease.connection }
      })
      const aborted = Promise.withResolvers<never>()
      aborted.promise.catch(() => undefined)
      const onAbort = () => {
        // One that is still to come is closed: nobody has it.
        opening.then(({ channel }) => abandon(channel)).catch(() => undefined)
        aborted.reject(signal.reason)
      }
      if (signal.aborted) onAbort()
      else signal.addEventListener('abort', onAbort, { once: true })
      try {
        const { channel, connection } = await Promise.race([opening, aborted.promise])
        return sessionOn(channel, connection, events, { pool, marker, grace: settings.kill_grace })
      } finally {
        signal.removeEventListener('abort', onAbort)
      }
    },
  }
}

function checkRequest({ term, rows, cols, command }: RemotePtyRequest): void {
  if (!TERM.test(term)) throw mhvError('MHV_INPUT_INVALID', 'term: must be the name of a terminal, as in TERM')
  if (command?.includes('\0')) throw mhvError('MHV_INPUT_INVALID', 'command: must not contain a NUL character')
  checkSize(rows, cols)
}

function checkSize(rows: number, cols: number): void {
  for (const [name, value] of Object.entries({ rows, cols })) {
    if (Number.isInteger(value) && value >= 1 && value <= MOST_CELLS) continue
    throw mhvError('MHV_INPUT_INVALID', `${name}: must be a whole number from 1 to ${MOST_CELLS}`)
  }
}

interface SessionParts {
  readonly pool: SshPool
  /** With which the session says which process leads it. */
  readonly marker: string
  /** Seconds between HUP and KILL. */
  readonly grace: number
}

function sessionOn(
  channel: ClientChannel,
  connection: SshConnection,
  events: RemotePtyEvents,
  { pool, marker, grace }: SessionParts,
): RemotePtySession {
  const { log } = pool.context
  const start = createStartScanner(marker)
  const ended = Promise.withResolvers<void>()
  let over = false
  let delivering = Promise.resolve()
  let closing: Promise<void> | undefined

  const host = createTerminalHost({
    pool,
    connection,
    log,
    leader() {
      const report = start.report()
      return report?.kind === 'started' ? report.pid : undefined
    },
  })

  function take(bytes: Uint8Array): void {
    if (bytes.length === 0) return
    // Nothing more is read, and the host's program waits, until the caller has taken this.
    channel.pause()
    channel.stderr.pause()
    delivering = delivering
      .then(() => events.data(Uint8Array.from(bytes)))
      .catch((error: unknown) => {
        log.warn('whoever had a terminal did not take its output', { error })
        abandon(channel)
      })
      .finally(() => {
        channel.resume()
        channel.stderr.resume()
      })
  }

  channel.on('data', (bytes: Buffer) => take(start.push(bytes)))
  channel.stderr.on('data', take)
  channel.once('close', () => {
    over = true
    take(start.end())
    const exit = connection.exitOf(channel)
    // A connection that broke ends it without an exit code or a signal.
    void delivering.then(() => {
      events.exit({ exit_code: exit?.code ?? null, signal: exit?.signal ?? null })
      ended.resolve()
    })
  })

  function usable(): void {
    if (!over) return
    throw mhvError('MHV_SSH_CONNECTION_LOST', `${connection.endpoint}: the terminal is closed`)
  }

  async function closeNow(): Promise<void> {
    await host.end(grace)
    if (!over) abandon(channel)
  }

  return {
    async write(bytes) {
      usable()
      if (channel.write(Buffer.from(bytes))) return
      await Promise.race([once(channel, 'drain'), once(channel, 'close')])
      usable()
    },
    async resize(rows, cols) {
      checkSize(rows, cols)
      usable()
      channel.setWindow(rows, cols, 0, 0)
    },
    async signal(name) {
      if (!REMOTE_PTY_SIGNALS.includes(name)) {
        throw mhvError('MHV_INPUT_INVALID', `signal: must be one of ${REMOTE_PTY_SIGNALS.join(', ')}`)
      }
      usable()
      await host.signal(name)
    },
    echo: async () => (over ? 'unknown' : host.echo()),
    ended: () => ended.promise,
    close() {
      if (over) return Promise.resolve()
      closing ??= closeNow()
      return closing
    },
  }
}
