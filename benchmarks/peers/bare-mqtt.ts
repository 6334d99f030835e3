/** mqtt.js by itself, the way its own documentation uses it, with a window of messages that are not acknowledged. */
import mqtt, { type MqttClient } from 'mqtt'
import { serveSide } from '../harness/side.ts'

export interface PublishLoad {
  readonly qos: 0 | 1 | 2
  readonly count: number
  readonly bytes: number
  readonly window: number
}

export interface ReceiveLoad {
  /** Topics `bench/N/x`, one subscription for each. */
  readonly subscriptions: number
  readonly count: number
}

let client: MqttClient | undefined

function connected(): MqttClient {
  if (client === undefined) throw new Error('not open')
  return client
}

/** Publishes to 1,000 topics in turn; seconds until the last is acknowledged (QoS 0: written). */
function publishAll({ qos, count, bytes, window }: PublishLoad): Promise<number> {
  const own = connected()
  const payload = Buffer.alloc(bytes, 'x')
  const began = performance.now()
  return new Promise((resolve, reject) => {
    let sent = 0
    let done = 0
    const next = () => {
      while (sent < count && sent - done < window) {
        const topic = `bench/${sent % 1_000}/x`
        // First: for QoS 0 it may call back at once.
        sent += 1
        own.publish(topic, payload, { qos }, (error) => {
          if (error) return reject(error)
          done += 1
          if (done === count) resolve((performance.now() - began) / 1000)
          else next()
        })
      }
    }
    next()
  })
}

let received = 0
let firstAt = 0
let lastAt = 0

const methods = {
  async open({ url }: { url: string }): Promise<void> {
    client = await mqtt.connectAsync(url, { protocolVersion: 5, clean: true, reconnectPeriod: 0 })
    client.on('message', () => {
      if (received === 0) firstAt = performance.now()
      received += 1
      lastAt = performance.now()
    })
  },
  publish: publishAll,
  /** QoS 0 at so many messages per second. */
  async pace({ perSecond, count, bytes }: { perSecond: number; count: number; bytes: number }): Promise<void> {
    const payload = Buffer.alloc(bytes, 'x')
    const began = performance.now()
    for (let sent = 0; sent < count; await new Promise((done) => setTimeout(done, 2))) {
      const due = Math.min(count, ((performance.now() - began) / 1_000) * perSecond)
      for (; sent < due; sent++) connected().publish(`bench/${sent % 1_000}/x`, payload)
    }
  },
  async subscribe({ subscriptions }: { subscriptions: number }): Promise<void> {
    for (let from = 0; from < subscriptions; from += 100) {
      const filters = Array.from({ length: 100 }, (_, n) => `bench/${from + n}/+`)
      await connected().subscribeAsync(filters, { qos: 0 })
    }
  },
  async unsubscribe({ subscriptions }: { subscriptions: number }): Promise<void> {
    for (let from = 0; from < subscriptions; from += 100) {
      await connected().unsubscribeAsync(Array.from({ length: 100 }, (_, n) => `bench/${from + n}/+`))
    }
  },
  /** Seconds from the first to the last message; waits until all have come. */
  async received({ count }: { count: number }): Promise<number> {
    for (let tries = 0; received < count && tries < 3_000; tries++) await new Promise((done) => setTimeout(done, 10))
    if (received !== count) throw new Error(`${received} of ${count} messages came`)
    received = 0
    return (lastAt - firstAt) / 1000
  },
}

export type BareMqtt = typeof methods

serveSide(methods, async () => {
  await client?.endAsync()
})
