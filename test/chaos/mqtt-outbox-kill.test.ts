import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { connect } from 'mqtt'
import { mosquittoMissing, startMosquitto } from '../helpers/mosquitto.ts'
import { startTcpProxy } from '../helpers/tcp-proxy.ts'

const CHILD = fileURLToPath(new URL('../fixtures/mqtt-outbox-child.ts', import.meta.url))
/** Numbers of one process begin here, times its place. */
const STRIDE = 1_000_000
const ROUNDS = 4

interface Received {
  readonly topic: string
  readonly number: number
  readonly id: string
}

/** Somebody else who listens: a client of its own, past the proxy, without any code of ours. */
async function independentSubscriber(url: string) {
  const received: Received[] = []
  const client = connect(url, { protocolVersion: 5, reconnectPeriod: 0 })
  client.on('message', (topic, payload, packet) => {
    const id = String(packet.properties?.userProperties?.['mhv-message-id'])
    received.push({ topic, number: Number(payload.toString()), id })
  })
  await new Promise<void>((resolve, reject) => client.once('connect', () => resolve()).once('error', reject))
  // With QoS 2 it would see the QoS 2 messages a round trip later than those of QoS 1 that came after them.
  await client.subscribeAsync('t/#', { qos: 1 })
  return { received, end: () => client.endAsync(true) }
}

function run(args: readonly string[]) {
  // What a killed process leaves behind goes with the folder.
  const env = { ...process.env, TMPDIR: args[0] }
  const child: ChildProcess = spawn(process.execPath, [CHILD, ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let [out, err] = ['', '']
  child.stdout?.on('data', (text) => {
    out += text
  })
  child.stderr?.on('data', (text) => {
    err += text
  })
  const ended = new Promise<{ code: number | null; signal: string | null; out: string; err: string }>((resolve) =>
    child.once('close', (code, signal) => resolve({ code, signal, out, err })),
  )
  return { child, ended }
}

/** The numbers of each topic in the order of their first arrival. */
function firstArrivals(received: readonly Received[]): Map<string, number[]> {
  const seen = new Set<number>()
  const found = new Map<string, number[]>()
  for (const { topic, number } of received) {
    if (seen.has(number)) continue
    seen.add(number)
    found.set(topic, [...(found.get(topic) ?? []), number])
  }
  return found
}

suite('the outbox of a process that is killed while its network is cut', { skip: mosquittoMissing() ?? false }, () => {
  test('MQ-01, MQ-02: every accepted message arrives, in the order of its topic, and nothing that was not accepted', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'mhv-outbox-'))
    const broker = await startMosquitto({ config: ['max_queued_messages 0', 'max_inflight_messages 0'] })
    const proxy = await startTcpProxy({ port: broker.port })
    const url = `mqtt://127.0.0.1:${proxy.port}`
    const subscriber = await independentSubscriber(broker.url)
    try {
      for (let round = 0; round < ROUNDS; round++) {
        const before = subscriber.received.length
        const { child, ended } = run([folder, url, String(round * STRIDE)])
        // Cut while it sends, and killed while it sends.
        for (let waited = 0; subscriber.received.length < before + 50 && waited < 30_000; waited += 10) await delay(10)
        for (let cut = 0; cut < 4; cut++) {
          proxy.cutAfter(500 + Math.floor(Math.random() * 20_000))
          await delay(40 + Math.random() * 120)
        }
        child.kill('SIGKILL')
        const { signal, err } = await ended
        assert.equal(signal, 'SIGKILL', err)
      }
      const { code, out, err } = await run([folder, url, 'drain']).ended
      assert.equal(code, 0, err)
      const status = JSON.parse(out) as { accepted: number; delivered: number; waiting: number }
      const ledger = (await readFile(join(folder, 'ledger'), 'utf8')).trim().split('\n').map(Number)
      // What the broker acknowledged is on its way to the subscriber.
      const numbers = () => new Set(subscriber.received.map(({ number }) => number))
      for (let waited = 0; numbers().size < status.accepted && waited < 10_000; waited += 20) await delay(20)

      const found = numbers()
      assert.deepEqual(
        ledger.filter((number) => !found.has(number)),
        [],
        'accepted and never received',
      )
      // On disk is what may be sent: neither more nor less arrived.
      assert.equal(found.size, status.accepted)
      assert.deepEqual([status.delivered, status.waiting], [status.accepted, 0])
      assert.ok(ledger.length > ROUNDS * 20, `${ledger.length} accepted`)
      const ids = new Map(subscriber.received.map(({ id, number }) => [id, number]))
      assert.equal(ids.size, found.size, 'one id for each message, over every repetition')
      for (const [topic, list] of firstArrivals(subscriber.received)) {
        assert.deepEqual(
          list,
          [...list].sort((a, b) => a - b),
          topic,
        )
      }
    } finally {
      await subscriber.end()
      await proxy.close()
      await broker.stop()
      await rm(folder, { recursive: true, force: true })
    }
  })
})
