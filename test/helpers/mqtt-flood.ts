import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { startMosquitto } from './mosquitto.ts'
import { brokerTarget, never, startMqttWorker } from './mqtt-context.ts'
import { until } from './processes.ts'

const MEBIBYTE = 1_048_576
const RATE = 10_000
const SIZE = 1_024

/** Sends `RATE` messages of `SIZE` bytes a second to 1,000 topics in turn, from a process of its own. */
const SENDER = `
const mqtt = require('mqtt')
const [url, seconds, rate, size] = process.argv.slice(1)
const client = mqtt.connect(url, { protocolVersion: 5, queueQoSZero: false })
const payload = Buffer.alloc(Number(size), 'x')
let sent = 0
client.on('connect', () => {
  const began = performance.now()
  const timer = setInterval(() => {
    const due = Math.min(Math.floor(((performance.now() - began) / 1000) * rate), seconds * rate)
    for (; sent < due; sent++) client.publish('flood/' + (sent % 1000) + '/x', payload)
    if (sent < seconds * rate) return
    clearInterval(timer)
    client.end(false, () => console.log(sent))
  }, 5)
})
`

/** MQ-05 for so many seconds: 1,000 subscriptions that keep up, and one consumer that hangs. */
export async function flood(seconds: number): Promise<void> {
  await using broker = await startMosquitto({ config: ['max_queued_messages 0'] })
  const throttling = { buffer_bytes: 8 * MEBIBYTE, max_subscription_count: 1_001 }
  await using worker = await startMqttWorker({ settings: { throttling } })
  const session = worker.session(brokerTarget(broker))
  let taken = 0
  const onMessage = () => {
    taken += 1
  }
  await Promise.all(
    Array.from({ length: 1_000 }, (_, n) => session.subscribe(`flood/${n}/+`, { qos: 0, signal: never, onMessage })),
  )
  // It takes one message, and never ends with it.
  const stalled = await session.subscribe('flood/#', {
    qos: 0,
    signal: never,
    onMessage: () => new Promise<void>(() => undefined),
  })
  globalThis.gc?.()
  const before = process.memoryUsage().rss
  let highest = 0
  let held = 0
  const sampling = setInterval(() => {
    highest = Math.max(highest, process.memoryUsage().rss)
    held = Math.max(held, session.facts().buffered_bytes)
  }, 50)
  const arguments_ = ['-e', SENDER, broker.url, String(seconds), String(RATE), String(SIZE)]
  const sender = spawn(process.execPath, arguments_, { stdio: ['ignore', 'pipe', 'inherit'] })
  let said = ''
  sender.stdout.on('data', (text: Buffer) => {
    said += text
  })
  await new Promise((resolve) => sender.once('exit', resolve))
  const sent = Number(said)
  assert.equal(sent, seconds * RATE)
  await until(() => taken === sent, 5_000)
  clearInterval(sampling)
  // Nothing was lost for those who keep up, and each that the other did not take is counted.
  assert.equal(taken, sent)
  assert.equal(session.facts().dropped, stalled.dropped())
  assert.equal(session.facts().buffered_bytes % SIZE, 0)
  assert.equal(stalled.dropped() + session.facts().buffered_bytes / SIZE + 1, sent)
  assert.ok(held <= throttling.buffer_bytes, `${held} bytes held`)
  // However long it takes: what is held twice over, and garbage.
  const grown = (highest - before) / MEBIBYTE
  assert.ok(grown < 256, `memory grew by ${Math.round(grown)} MiB`)
  assert.ok(highest < 512 * MEBIBYTE, `${highest} bytes`)
}
