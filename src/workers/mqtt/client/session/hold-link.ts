import type { Clock } from '../../../../core/clock.ts'
import type { Logger } from '../../../../core/context.ts'
import { type MhvError, toMhvError } from '../../../../core/errors.ts'
import type { MqttSettings } from '../../settings.ts'
import type { Link } from '../link/link.ts'
import type { LinkMaker } from './link-maker.ts'
import type { SubscriptionProbe } from './probe.ts'

export interface HoldParts {
  readonly link: Link
  /** Place of its broker in the list. */
  readonly at: number
  readonly maker: LinkMaker
  /** A link with all subscriptions on it. */
  make(index: number): Promise<Link>
  readonly probe: SubscriptionProbe
  readonly settings: MqttSettings
  readonly clock: Clock
  readonly log: Logger
  readonly ended: AbortSignal
}

/** Looks after a link until it is lost, or until one to the first broker is there to take its place. */
export async function holdLink(parts: HoldParts): Promise<{ readonly lost: MhvError } | { readonly link: Link }> {
  const { link, at, probe, settings, ended } = parts
  const done = new AbortController()
  const signal = AbortSignal.any([done.signal, ended])
  if (settings.subscription_health_check > 0) void probe.watch(link, signal)
  const back = at === 0 ? new Promise<never>(() => undefined) : firstIsBack(parts, signal)
  let taken = false
  try {
    const next = await Promise.race([link.over.then((lost) => ({ lost })), back])
    taken = 'link' in next
    return next
  } finally {
    done.abort()
    // Both came at once: a link that nobody knows of would keep the session from the next one.
    if (!taken) void back.then((late) => late.link.end(false))
  }
}

/** The new link is made before the old one is ended, so that nothing is missed in between. */
async function firstIsBack(parts: HoldParts, signal: AbortSignal): Promise<{ readonly link: Link }> {
  const { settings, clock, log, link, make, maker } = parts
  let healthySince: number | undefined
  for (;;) {
    try {
      await clock.sleep(settings.failback_probe * 1000, signal)
      await maker.look(0, signal)
      healthySince ??= clock.monotonic()
      if (clock.monotonic() - healthySince < settings.failback_after * 1000) continue
      const next = await make(0)
      if (!signal.aborted) return { link: next }
      await next.end(false)
    } catch (error) {
      if (!signal.aborted) {
        healthySince = undefined
        const { code, message } = toMhvError(error)
        log.debug('mqtt: the first broker is not back', { endpoint: link.endpoint.name, error_code: code, message })
      }
    }
    // Nobody waits for this any more.
    if (signal.aborted) return new Promise<never>(() => undefined)
  }
}
