import type { Clock } from '../core/clock.ts'
import type { Logger, SecretResolver } from '../core/context.ts'
import { type MhvError, mhvError, toMhvError } from '../core/errors.ts'
import { type Destination, destinationOf, isWebhook, type NotificationSettings } from './destination.ts'
import type { NotificationOutcome, Outbox, OutboxItem } from './outbox.ts'
import { runCommand } from './run-command.ts'
import { sendWebhook } from './send-webhook.ts'
import { signedHeaders } from './signature.ts'

export interface DeliveryParts {
  readonly outbox: Outbox
  readonly settings: NotificationSettings
  readonly secrets: SecretResolver
  readonly clock: Clock
  readonly log: Logger
  /** For what receivers and programs say about failures: it is kept and logged. */
  redact<T>(value: T): T
  count(outcome: NotificationOutcome, destination: string): void
  /** From 0 to below 1. */
  readonly random?: () => number
}

export interface Delivery {
  /** There is something new, or there may be. */
  wake(): void
  /** Lets what is under way end, for so long, then cuts it off; it is delivered again at the next start. */
  close(withinMs: number): Promise<void>
}

/** Entries of different destinations that are taken up at once. */
const MAX_AT_ONCE = 16
/** Pause after the outbox could not be read, and the longest one while something waits, in milliseconds. */
const LOOK_AGAIN_MS = 5_000
/** Longest wait that a receiver's Retry-After is honoured for, in milliseconds. */
const MAX_RETRY_AFTER_MS = 3_600_000

/**
 * Delivers what is in the outbox: one entry of a destination at a time, in order, again with full jitter until it is
 * taken or its tries are used up. At least once: an entry is removed only after its delivery, so a process that dies in
 * between delivers it again, under the same id.
 */
export function createDelivery(parts: DeliveryParts): Delivery {
  const { outbox, settings, clock, log, random = Math.random } = parts
  const stopping = new AbortController()
  const underWay = new Map<string, Promise<void>>()
  /** Until when nothing is sent to a destination, by its name in the outbox. */
  const heldUntil = new Map<string, number>()
  const now = neverBack(clock)
  let cancelTimer = () => {}
  let looking: Promise<void> | undefined
  let again = false
  let closing = false

  function wake(): void {
    if (closing) return
    if (looking !== undefined) {
      again = true
      return
    }
    cancelTimer()
    looking = look()
      .catch((error: unknown) => {
        log.error('the outbox could not be read', { error })
        lookIn(LOOK_AGAIN_MS)
      })
      .finally(() => {
        looking = undefined
        if (!again) return
        again = false
        wake()
      })
  }

  function lookIn(ms: number): void {
    cancelTimer()
    if (!closing) cancelTimer = clock.after(ms, wake)
  }

  async function look(): Promise<void> {
    const at = now()
    for (const [name, until] of heldUntil) if (until <= at) heldUntil.delete(name)
    for (const item of await outbox.dueOutbox(at, MAX_AT_ONCE)) {
      if (destinationOf(item.destination) === undefined) continue
      if (underWay.has(item.destination) || heldUntil.has(item.destination)) continue
      underWay.set(item.destination, follow(item))
    }
    if ((await waiting()) === 0) return
    const soonest = Math.min(...[...heldUntil.values()].map((until) => until - now()), LOOK_AGAIN_MS)
    lookIn(Math.max(0, soonest))
  }

  async function follow(item: OutboxItem): Promise<void> {
    try {
      await deliver(item)
    } catch (error) {
      log.error('what became of a notification could not be journaled', { id: item.id, error })
      // It would be sent again at once, and again.
      heldUntil.set(item.destination, now() + LOOK_AGAIN_MS)
    } finally {
      underWay.delete(item.destination)
      wake()
    }
  }

  async function waiting(): Promise<number> {
    const { by_destination } = await outbox.outboxStats()
    const ours = Object.entries(by_destination).filter(([name]) => destinationOf(name) !== undefined)
    return ours.reduce((sum, [, count]) => sum + count, 0)
  }

  async function deliver(item: OutboxItem): Promise<void> {
    const name = destinationOf(item.destination) as string
    const facts = { destination: name, id: item.id, kind: item.kind, attempts: item.attempts + 1 }
    const error = await tryOnce(name, item)
    if (error === undefined) {
      await outbox.outboxDone(item.id)
      parts.count('delivered', name)
      return
    }
    // The process stops: nobody has failed, and the next one delivers it.
    if (stopping.signal.aborted) return
    const message = parts.redact(error.message)
    parts.count('failed', name)
    if (item.attempts + 1 >= settings.max_attempts || isFinalRefusal(error)) {
      log.error('a notification is given up', { ...facts, error_code: error.code, error: message })
      parts.count('given_up', name)
      await outbox.outboxDone(item.id)
      return
    }
    const wait = waitAfter(item.attempts + 1, error)
    log.warn('a notification could not be delivered yet', {
      ...facts,
      error_code: error.code,
      error: message,
      wait_ms: wait,
    })
    const next_at = now() + wait
    await outbox.outboxFailed(item.id, { attempts: item.attempts + 1, next_at, error: message })
    heldUntil.set(item.destination, next_at)
  }

  /** Full jitter, and at least what the receiver asked for. */
  function waitAfter(attempt: number, { retryAfter = 0 }: MhvError): number {
    const { base_ms, cap_ms } = settings.retry
    const jittered = Math.floor(random() * Math.min(cap_ms, base_ms * 2 ** Math.min(attempt - 1, 30)))
    return Math.max(jittered, Math.min(retryAfter * 1000, MAX_RETRY_AFTER_MS))
  }

  async function tryOnce(name: string, item: OutboxItem): Promise<MhvError | undefined> {
    const destination = Object.hasOwn(settings.destinations, name) ? settings.destinations[name] : undefined
    if (destination === undefined) return mhvError('MHV_NOTIFY_ADDRESS', `the settings have no destination "${name}"`)
    const timeoutMs = destination.timeout_seconds * 1000
    const late = new AbortController()
    const cancel = clock.after(timeoutMs, () => {
      late.abort(mhvError('MHV_NOTIFY_FAILED', `it was not done after ${destination.timeout_seconds} s`))
    })
    try {
      await send(destination, item, timeoutMs, AbortSignal.any([late.signal, stopping.signal]))
      return undefined
    } catch (error) {
      return toMhvError(error)
    } finally {
      cancel()
    }
  }

  async function send(
    destination: Destination,
    item: OutboxItem,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<void> {
    const body = JSON.stringify(item.payload)
    if (!isWebhook(destination)) {
      return runCommand({ command: destination.command, id: item.id, body, timeoutMs, signal })
    }
    const secret = await parts.secrets.resolve(destination.secret)
    const signed = signedHeaders(secret.reveal(), item.id, clock.now(), body)
    await sendWebhook({ url: destination.webhook, headers: destination.headers, signed, body, signal })
  }

  return {
    wake,
    async close(withinMs) {
      closing = true
      cancelTimer()
      await looking
      const timer = new AbortController()
      const late = clock.sleep(withinMs, timer.signal).catch(() => undefined)
      await Promise.race([Promise.all(underWay.values()), late])
      timer.abort()
      stopping.abort(mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping'))
      await Promise.all(underWay.values())
    },
  }
}

/** The wall clock, which goes on from where it was when it is set back: what waits for a time does not wait longer. */
function neverBack({ now, monotonic }: Pick<Clock, 'now' | 'monotonic'>): () => number {
  let ahead = now() - monotonic()
  return () => {
    ahead = Math.max(ahead, now() - monotonic())
    return Math.round(ahead + monotonic())
  }
}

/** Trying again cannot help: the address is not allowed, or the receiver says that it is gone for good (410). */
function isFinalRefusal(error: MhvError): boolean {
  return error.code === 'MHV_NOTIFY_ADDRESS' || error.details?.status === 410
}
