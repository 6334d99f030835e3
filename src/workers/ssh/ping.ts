import { toMhvError } from '../../core/errors.ts'
import type { PingResult, PingTarget } from '../../core/worker.ts'
import { abandon } from './connection.ts'
import { openChannel } from './open-channel.ts'
import type { PoolCall, SshPool } from './pool.ts'
import type { SshSettings, SshTarget } from './settings.ts'

/** Whether a target lets us in and runs a command that does nothing. Never rejects: the message says what is wrong. */
export async function pingTarget(
  pool: SshPool,
  { address, settings }: PingTarget<SshSettings, SshTarget>,
  signal: AbortSignal,
): Promise<PingResult> {
  const started = performance.now()
  try {
    const code = await exitOf(pool, { target: address, settings, secrets: pool.defaults.secrets, signal })
    const took = `${Math.round(performance.now() - started)} ms`
    if (code === 0) return { healthy: true, message: `answered in ${took}` }
    return { healthy: false, message: `answered in ${took}, but with exit code ${code}` }
  } catch (error) {
    const { code, message } = toMhvError(error)
    return { healthy: false, message: `${code}: ${message}` }
  }
}

async function exitOf(pool: SshPool, call: PoolCall): Promise<number | null> {
  const opening = openChannel(pool, call, () => 'exit 0')
  const channel = await opening.channel
  const { promise, resolve, reject } = Promise.withResolvers<number | null>()
  const onAbort = () => {
    abandon(channel)
    reject(call.signal.reason)
  }
  call.signal.addEventListener('abort', onAbort, { once: true })
  if (call.signal.aborted) onAbort()
  channel.once('close', () => resolve(opening.sentOn()?.exitOf(channel)?.code ?? null))
  channel.resume()
  channel.stderr.resume()
  channel.eof()
  return promise.finally(() => call.signal.removeEventListener('abort', onAbort))
}
