import type { WorkerContext } from '../../../core/context.ts'
import { mhvError, toMhvError } from '../../../core/errors.ts'
import type { BrokerCall, MqttConnection } from '../client/mqtt-session.ts'
import type { MqttSettings, MqttTarget } from '../settings.ts'
import { createRecorder, messageStream, type Recorder } from './recorder.ts'
import { createSampler } from './sampler.ts'
import type { StandingSubscription } from './settings.ts'

/** Ceiling of the pause before a subscription is made again, in milliseconds: doubled with every failure. */
const FIRST_PAUSE_MS = 500
const LONGEST_PAUSE_MS = 60_000
/** Pause between two removals of old messages, in milliseconds. */
const TIDY_MS = 60_000

export interface StandingFacts {
  readonly configured: number
  readonly active: number
  /** Messages that came, that were kept, and that could not be written. */
  readonly received: number
  readonly kept: number
  readonly lost: number
  /** `NAME: CODE` of those that are not there. */
  readonly failing: readonly string[]
}

export interface StandingSubscriptions {
  facts(): StandingFacts
  close(): Promise<void>
}

interface Numbers {
  received: number
  kept: number
  lost: number
}

/** Makes the standing subscriptions of the settings, and makes each again whenever it ends. */
export async function startStanding(
  context: WorkerContext<MqttSettings>,
  connection: Pick<MqttConnection, 'broker'>,
): Promise<StandingSubscriptions> {
  const { clock, log, records, settings } = context
  const stopped = new AbortController()
  const recorders = new Map<string, Recorder>()
  const failing = new Map<string, string>()
  const active = new Set<string>()
  const numbers: Numbers = { received: 0, kept: 0, lost: 0 }
  const targets = new Map((await context.targets()).map((each) => [each.target.name, each]))

  function recorderOf(target: string): Recorder {
    const found = recorders.get(target)
    if (found !== undefined) return found
    const onLost = (messages: number) => {
      numbers.lost += messages
    }
    const onKept = (messages: number) => {
      numbers.kept += messages
    }
    const recorder = createRecorder({ target, records, clock, log, onKept, onLost })
    recorders.set(target, recorder)
    return recorder
  }

  /** One life of a subscription: from the broker's answer to its end, which is an error unless we stop. */
  async function live(subscription: StandingSubscription, call: BrokerCall, onGranted: () => void): Promise<void> {
    const { name, target, topic, qos } = subscription
    const sampler = createSampler(subscription)
    const recorder = recorderOf(target)
    const made = await connection.broker(call).subscribe(topic, {
      qos,
      signal: stopped.signal,
      onMessage(message) {
        numbers.received += 1
        return sampler.keeps(message.topic, clock.monotonic()) ? recorder.keep(name, message) : undefined
      },
    })
    active.add(name)
    failing.delete(name)
    onGranted()
    try {
      await made.closed
    } finally {
      active.delete(name)
    }
  }

  async function keepAlive(subscription: StandingSubscription, call: BrokerCall): Promise<void> {
    const { name, target, topic } = subscription
    let failures = 0
    while (!stopped.signal.aborted) {
      try {
        await live(subscription, call, () => {
          failures = 0
        })
        if (!stopped.signal.aborted) throw mhvError('MHV_MQTT_NOT_CONNECTED', 'the subscription was closed')
      } catch (error) {
        if (stopped.signal.aborted) return
        failures += 1
        const { code, message } = toMhvError(error)
        failing.set(name, `${name}: ${code}`)
        log.error('a standing subscription is not there', {
          subscription: name,
          target,
          topic,
          error_code: code,
          message,
        })
        const ceiling = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures, 10))
        await clock.sleep(Math.random() * ceiling, stopped.signal).catch(() => undefined)
      }
    }
  }

  for (const subscription of settings.subscriptions) {
    const found = targets.get(subscription.target)
    if (found === undefined) {
      const why = `standing subscription ${subscription.name}: no target ${subscription.target} with brokers in the inventory`
      log.error(why)
      failing.set(subscription.name, `${subscription.name}: MHV_TARGET_UNKNOWN`)
      continue
    }
    void keepAlive(subscription, {
      target: found.target.address as MqttTarget,
      settings: found.settings as MqttSettings,
    })
  }

  let cancelTidy: (() => void) | undefined
  async function tidy(): Promise<void> {
    const { retention_days, max_bytes } = settings.messages
    for (const target of new Set([...targets.keys(), ...settings.subscriptions.map((each) => each.target)])) {
      await records.retain(messageStream(target), { before: clock.now() - retention_days * 86_400_000, max_bytes })
    }
  }
  function tidyAgain(ms: number): void {
    cancelTidy = clock.after(ms, () => {
      void tidy()
        .catch((error: unknown) => log.error('old messages could not be removed', { error }))
        .finally(() => {
          if (!stopped.signal.aborted) tidyAgain(TIDY_MS)
        })
    })
  }
  tidyAgain(1_000)

  return {
    facts: () => ({
      ...numbers,
      configured: settings.subscriptions.length,
      active: active.size,
      failing: [...failing.values()],
    }),
    async close() {
      cancelTidy?.()
      stopped.abort(mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping'))
      await Promise.all([...recorders.values()].map((recorder) => recorder.close()))
    },
  }
}
