/** Our side of MQTT: the program as it is shipped, called the way a program that embeds it does; and its engine. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { createInstances, production } from '../../src/app.ts'
import { systemClock } from '../../src/core/clock.ts'
import type { WorkerContext } from '../../src/core/context.ts'
import type { Instance } from '../../src/runtime/instance.ts'
import type { MqttSession, Subscription } from '../../src/workers/mqtt/client/mqtt-session.ts'
import { createSession, type OwnedSession } from '../../src/workers/mqtt/client/session/session.ts'
import { type MqttSettings, mqttSettings, mqttTarget } from '../../src/workers/mqtt/settings.ts'
import { TARGET } from '../harness/instance-folder.ts'
import { closedLoop } from '../harness/load.ts'
import { serveSide } from '../harness/side.ts'
import { quantile } from '../harness/stats.ts'
import type { PublishLoad } from '../peers/bare-mqtt.ts'

export interface BatchLoad extends PublishLoad {
  /** Messages of one call, and calls at any time. */
  readonly batch: number
  readonly calls: number
}

let instance: Instance | undefined
let engine: OwnedSession | undefined
const never = new AbortController().signal

async function publish(input: object): Promise<void> {
  if (instance === undefined) throw new Error('not open')
  const { invoke, principal } = instance
  const envelope = { target: TARGET }
  const result = await invoke({ operation: 'mqtt.publish', input, envelope, principal, surface: 'embedded' })
  const { state } = (result.data ?? {}) as { state?: string }
  if (result.status !== 'completed' || state === 'accepted') throw new Error(`${state} ${result.error}`)
}

const payloadOf = (bytes: number) => 'x'.repeat(bytes)

/** The engine has no journal and no policy; what it says goes nowhere. */
function engineSession(url: string): OwnedSession {
  const quiet = () => undefined
  const settings = mqttSettings.parse({ throttling: { max_publish_rate: 0, max_subscription_count: 2_000 } })
  const context = {
    clock: systemClock,
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    secrets: {},
    settings,
    folder: '.',
  } as unknown as WorkerContext<MqttSettings>
  const target = mqttTarget.parse({ brokers: [{ url }] })
  return createSession({ target, settings, client_id: `bench-${process.pid}`, context })
}

function opened(): MqttSession {
  if (engine === undefined) throw new Error('not open')
  return engine
}

let subscriptionsMade: Subscription[] = []
let received = 0
let firstAt = 0
let lastAt = 0
function onMessage(): void {
  if (received === 0) firstAt = performance.now()
  received += 1
  lastAt = performance.now()
}

const methods = {
  async open({ folder, url }: { folder: string; url: string }): Promise<void> {
    // Without the variables of whoever runs the benchmark: they are settings, too.
    instance = await createInstances({ ...production(), env: {} }).open({ folder, doing: 'a benchmark' })
    engine = engineSession(url)
    await engine.ready(never)
  },
  /** Calls with `batch` messages each, `calls` of them at any time; seconds until the last is answered. */
  async publish({ qos, count, bytes, batch, calls }: BatchLoad): Promise<number> {
    const payload = payloadOf(bytes)
    const messages = Array.from({ length: batch }, (_, n) => ({ topic: `bench/${n % 1_000}/x`, payload, qos }))
    const { seconds } = await closedLoop({ count: count / batch, concurrency: calls }, () => publish({ messages }))
    return seconds
  },
  /** A call for each message, `window` of them at any time; seconds. */
  async publishSingly({ qos, count, bytes, window }: PublishLoad): Promise<number> {
    const payload = payloadOf(bytes)
    const { seconds } = await closedLoop({ count, concurrency: window }, (n) =>
      publish({ topic: `bench/${n % 1_000}/x`, payload, qos }),
    )
    return seconds
  },
  async subscribe({ subscriptions }: { subscriptions: number }): Promise<void> {
    const filters = Array.from({ length: subscriptions }, (_, n) => `bench/${n}/+`)
    subscriptionsMade = await Promise.all(
      filters.map((filter) => opened().subscribe(filter, { qos: 0, signal: never, onMessage })),
    )
  },
  async unsubscribe(_: { subscriptions: number }): Promise<void> {
    await Promise.all(subscriptionsMade.map((subscription) => subscription.close()))
  },
  /** Seconds from the first to the last message; waits until all have come. */
  async received({ count }: { count: number }): Promise<number> {
    for (let tries = 0; received < count && tries < 3_000; tries++) await systemClock.sleep(10)
    if (received !== count)
      throw new Error(`${received} of ${count} messages came, ${opened().facts().dropped} dropped`)
    received = 0
    return (lastAt - firstAt) / 1000
  },
  /** Milliseconds from a call of `mqtt.publish` until a subscriber has its message: p95, at so many per second. */
  async latency({ perSecond, count, qos }: { perSecond: number; count: number; qos: 0 | 1 | 2 }): Promise<number> {
    const took: number[] = []
    const subscription = await opened().subscribe('latency/#', {
      qos,
      signal: never,
      onMessage: ({ payload }) => void took.push(performance.now() - Number(Buffer.from(payload))),
    })
    const calls: Promise<void>[] = []
    const began = performance.now()
    for (let n = 0; n < count; n++) {
      await systemClock.sleep(Math.max(0, began + (n * 1_000) / perSecond - performance.now()))
      calls.push(publish({ topic: `latency/${n % 10}`, payload: String(performance.now()), qos }))
    }
    await Promise.all(calls)
    for (let tries = 0; took.length < count && tries < 500; tries++) await systemClock.sleep(10)
    await subscription.close()
    if (took.length !== count) throw new Error(`${took.length} of ${count} messages came`)
    return quantile(took, 0.95)
  },
  /** 99th percentile of the event loop's delay, in milliseconds, from `begin` to `end` of what comes meanwhile. */
  async delay({ count }: { count: number }): Promise<number> {
    const histogram = monitorEventLoopDelay({ resolution: 1 })
    histogram.enable()
    await methods.received({ count })
    histogram.disable()
    // It counts the pause between two looks as well.
    return Math.max(0, histogram.percentile(99) / 1e6 - 1)
  },
}

export type MqttSide = typeof methods

serveSide(methods, async () => {
  await engine?.close()
  await instance?.close()
})
