import { MhvError, mhvError } from '../../../core/errors.ts'
import type { PoolCall } from '../pool.ts'
import { type Group, lasting, limitOf, placesHeld } from './groups.ts'

/** Seconds after which a call that found no room may come back. */
const RETRY_AFTER = 5

/**
 * Why a call may not join those who wait for a place of the group, if it may not: the queue is full, or by `reject_new`
 * nobody could serve it who has not another caller already. `coming` is the number of connections that may still be
 * made.
 */
export function refusalToWait(group: Group, coming: () => number): MhvError | undefined {
  const { pool_backpressure, pool_queue_size } = group.call.settings
  const { size } = group.waiting
  if (size >= pool_queue_size) return exhausted(group, size + 1, `${size} calls wait for a place there already`)
  if (pool_backpressure === 'wait') return undefined
  const places = (coming() + asked(group)) * limitOf(group) + placesHeld(group)
  return size < places ? undefined : exhausted(group, size + 1, 'every place is in use')
}

/** Connections that are there when they have answered. */
function asked(group: Group): number {
  let count = 0
  for (const entry of group.entries) if (entry.asked) count += 1
  return count
}

/** `position`: the place in the queue that the call has, or would have. */
function exhausted(group: Group, position: number, why: string): MhvError {
  const { host, call, waiting } = group
  const { max_connections, max_connections_per_host } = call.settings
  const limits = `max_connections_per_host is ${max_connections_per_host}, max_connections ${max_connections}`
  return mhvError('MHV_SSH_POOL_EXHAUSTED', `no free channel to ${host.name}: ${why}; ${limits}`, {
    retryAfter: RETRY_AFTER,
    details: { host: host.name, position, waiting: waiting.size, connections: host.open },
  })
}

/** The deadline or the cancellation came before anything was sent; the error says what was waited for. */
export function abortedWaiting(group: Group, { target, signal }: PoolCall, position: number): MhvError {
  const reason: unknown = signal.reason
  if (!(reason instanceof MhvError) || reason.code !== 'MHV_RUN_TIMEOUT') {
    return mhvError('MHV_RUN_CANCELLED_QUEUED', 'cancelled before the command was sent', { cause: reason })
  }
  if (lasting(group) === 0 && group.connecting) {
    return mhvError('MHV_SSH_CONNECT_TIMEOUT', `no connection to ${target.host} before the deadline of the run`)
  }
  return exhausted(group, position, 'none before the deadline')
}
