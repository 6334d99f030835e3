import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { suite, test } from 'node:test'
import { mosquittoMissing, startMosquitto } from '../helpers/mosquitto.ts'
import { brokerTarget, never, startMqttWorker } from '../helpers/mqtt-context.ts'
import { until } from '../helpers/processes.ts'

const skip = mosquittoMissing()
const MEBIBYTE = 1_048_576
/** The promise is about 60 s; what grows without bounds does so in these, too. */
const SECONDS = 4
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

suite('MQ-05: memory under a flood', { skip }, () => {
  test('MQ-05: 10,000 messages/s of 1 KB, 1,000 subscriptions and a consumer that hangs stay within the buffers', async () => {
    await using broker = await startMosquitto({ config: ['max_queued_messages 0'] })
    const throttling = { buffer_bytes: 8 * MEBIBYTE, max_subscription_count: 1_001 }
    await using worker = await startMqttWorker({ settings: { throttling } })
    const session = worker.session(brokerTarget(broker))
    let taken = 0
    await Promise.all(
      Array.from({ length: 1_000 }, (_, n) =>
        session.subscribe(`flood/${n}/+`, { qos: 0, signal: never, onMessage: () => void (taken += 1) }),
      ),
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
    const arguments_ = ['-e', SENDER, broker.url, String(SECONDS), String(RATE), String(SIZE)]
    const sender = spawn(process.execPath, arguments_, { stdio: ['ignore', 'pipe', 'inherit'] })
    let said = ''
    sender.stdout.on('data', (text: Buffer) => {
      said += text
    })
    await new Promise((resolve) => sender.once('exit', resolve))
    const sent = Number(said)
    assert.equal(sent, SECONDS * RATE)
    await until(() => taken === sent, 5_000)
    clearInterval(sampling)
    // Nothing was lost for those who keep up, and each that the other did not take is counted.
    assert.equal(taken, sent)
    assert.equal(session.facts().dropped, stalled.dropped())
    assert.equal(session.facts().buffered_bytes % SIZE, 0)
    assert.equal(stalled.dropped() + session.facts().buffered_bytes / SIZE + 1, sent)
    assert.ok(held <= throttling.buffer_bytes, `${held} bytes held`)
    // 40 MB came, twice each: what is held twice over, and garbage.
    const grown = (highest - before) / MEBIBYTE
    assert.ok(grown < 256, `memory grew by ${Math.round(grown)} MiB`)
    assert.ok(highest < 512 * MEBIBYTE, `${highest} bytes`)
  })
})
