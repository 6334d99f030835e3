/** `mqtt.publish` on its whole path and the engine's receiving, beside bare mqtt.js and paho, on a real mosquitto. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Area, type BenchOptions, interleavingOf } from './harness/area.ts'
import { withFolder } from './harness/folder.ts'
import { journalPragmas, makeInstanceFolder } from './harness/instance-folder.ts'
import { interleave, ratePerSecond } from './harness/interleave.ts'
import { packageVersion } from './harness/machine.ts'
import { type BenchBroker, brokerMissing, startBroker } from './harness/mosquitto.ts'
import { type Row, toRow } from './harness/row.ts'
import { type Side, startSide } from './harness/side.ts'
import { median } from './harness/stats.ts'
import { deviceRows } from './mqtt-devices.ts'
import type { BareMqtt } from './peers/bare-mqtt.ts'
import { type Paho, pahoMissing, startPaho } from './peers/paho.ts'
import type { MqttSide } from './sides/mqtt.ts'

const BARE = { name: 'bare mqtt.js', version: packageVersion('mqtt') }
const BYTES = 100
const WINDOW = 200
/**
 * Messages of one call, and calls at any time. Whatever they carry, no more than the window is on its way to the broker,
 * as with the peers: the other messages wait in the outbox.
 */
const BATCH = 500
const CALLS = 10
const SUBSCRIPTIONS = 1_000
const QOS = [0, 1, 2] as const

/** What our target differs in from the defaults, which hold back whoever sends more than 100 messages a second. */
const CHANGED = { 'throttling.max_publish_rate': 0, 'throttling.max_inflight': WINDOW }

interface Sides {
  readonly ours: Side<MqttSide>
  readonly bare: Side<BareMqtt>
  /** Sends what the others receive. */
  readonly sender: Side<BareMqtt>
  /** Undefined where it is not installed. */
  readonly paho: Paho | undefined
  readonly broker: BenchBroker
  readonly pragmas: Readonly<Record<string, string | number>>
}

const rates = (rounds: readonly (readonly number[])[], perTurn: number) => ratePerSecond(rounds, perTurn)

function settingsOf({ broker, pragmas }: Sides, more: object) {
  return {
    bytes: BYTES,
    window: WINDOW,
    changed: CHANGED,
    ...more,
    ...broker.settings,
    journal: { store: 'SQLite', ...pragmas },
    policy: 'agent-safe',
  }
}

/** Messages per second: one call with all of them, and a call for each. */
async function publishRows(options: BenchOptions, sides: Sides, qos: 0 | 1 | 2): Promise<readonly Row[]> {
  // Less than half a second would measure how the calls begin and end.
  const count = 20_000
  const singly = options.quick ? 100 : 500
  const load = { qos, count, bytes: BYTES, window: WINDOW }
  const { ours, bare, paho } = sides
  const beside = qos === 1 && paho !== undefined
  const values = await interleave(
    {
      ours: () => ours.call('publish', { ...load, batch: BATCH, calls: CALLS }),
      bare: () => bare.call('publish', load),
      singly: () => ours.call('publishSingly', { ...load, count: singly }),
      paho: async () => (beside ? paho.publish(load) : 0),
    },
    interleavingOf(options, `QoS ${qos}`, 2),
  )
  const held = qos === 0 ? 'never held' : 'through the durable outbox'
  const row = {
    name: `mqtt.publish.qos${qos}`,
    title: `messages per second, ${BATCH} in a call, QoS ${qos}, ${held}, beside bare mqtt.js`,
    unit: 'messages/s',
    better: 'higher',
    ours: rates(values.ours, count),
    settings: settingsOf(sides, { qos, count, messages_in_a_call: BATCH, calls_at_once: CALLS }),
  } as const
  return [
    toRow(
      { ...row, peer: { ...BARE, values: rates(values.bare, count) }, goal: { of: 'ratio', is: '>=', limit: 0.7 } },
      options,
    ),
    toRow(
      {
        ...row,
        name: `${row.name}.single`,
        title: `messages per second, one in a call, ${WINDOW} calls at once, QoS ${qos}, ${held}`,
        ours: rates(values.singly, singly),
        settings: settingsOf(sides, { qos, count: singly, calls_at_once: WINDOW }),
      },
      options,
    ),
    ...(beside
      ? [
          toRow(
            {
              ...row,
              name: `${row.name}.paho`,
              title: `messages per second, ${BATCH} in a call, QoS ${qos}, ${held}, beside paho`,
              peer: { name: 'paho', version: paho.version, values: rates(values.paho, count) },
              goal: { of: 'ratio', is: '>=', limit: 1.2 },
            },
            options,
          ),
        ]
      : []),
  ]
}

/** Each receives alone, and unsubscribes after its turn: what the other gets would take a processor from it. */
async function receiveRows(options: BenchOptions, sides: Sides): Promise<readonly Row[]> {
  const { ours, bare, sender } = sides
  const count = 30_000
  const load = { qos: 0, count, bytes: BYTES, window: WINDOW } as const
  const all = { subscriptions: SUBSCRIPTIONS }
  const sent = () => sender.call('publish', load)
  const seconds = await interleave(
    {
      async ours() {
        await ours.call('subscribe', all)
        const [taken] = await Promise.all([ours.call('received', { count }), sent()])
        await ours.call('unsubscribe', all)
        return taken
      },
      async bare() {
        await bare.call('subscribe', all)
        const [taken] = await Promise.all([bare.call('received', { count }), sent()])
        await bare.call('unsubscribe', all)
        return taken
      },
    },
    interleavingOf(options, `${SUBSCRIPTIONS} subscriptions`, 2),
  )
  await ours.call('subscribe', all)
  const delays = await delayOf(options, sides)
  return [
    toRow(
      {
        name: 'mqtt.receive.1000',
        title: `engine only: messages per second received with ${SUBSCRIPTIONS} subscriptions and no loss`,
        unit: 'messages/s',
        better: 'higher',
        ours: rates(seconds.ours, count),
        peer: { ...BARE, values: rates(seconds.bare, count) },
        goal: { of: 'ratio', is: '>=', limit: 0.9 },
        settings: settingsOf(sides, { qos: 0, count, subscriptions: SUBSCRIPTIONS, sender: 'bare mqtt.js' }),
      },
      options,
    ),
    toRow(
      {
        name: 'mqtt.delay.10000',
        title: 'engine only: 99th percentile of the event loop delay while 10,000 messages come per second',
        unit: 'ms',
        better: 'lower',
        ours: delays,
        settings: settingsOf(sides, { qos: 0, per_second: 10_000, subscriptions: SUBSCRIPTIONS }),
      },
      options,
    ),
  ]
}

async function delayOf({ rounds, quick, say }: BenchOptions, { ours, sender }: Sides): Promise<number[]> {
  const count = quick ? 5_000 : 20_000
  say('  10,000 messages a second')
  const values: number[] = []
  for (let round = 0; round < rounds; round++) {
    const [delay] = await Promise.all([
      ours.call('delay', { count }),
      sender.call('pace', { perSecond: 10_000, count, bytes: BYTES }),
    ])
    values.push(delay)
  }
  return values
}

async function latencyRows(options: BenchOptions, sides: Sides): Promise<readonly Row[]> {
  // Fewer would make the percentile that of one or two commits.
  const load = { perSecond: 100, count: 200 }
  const rows: Row[] = []
  for (const qos of QOS) {
    const { ours } = await interleave(
      { ours: () => sides.ours.call('latency', { ...load, qos }) },
      interleavingOf(options, `latency, QoS ${qos}`, 1),
    )
    rows.push(
      toRow(
        {
          name: `mqtt.latency.qos${qos}`,
          title: `95th percentile from the call of mqtt.publish until a subscriber has the message, 100 a second, QoS ${qos}`,
          unit: 'ms',
          better: 'lower',
          ours: ours.map(median),
          goal: { of: 'ours', is: '<=', limit: 3 },
          settings: settingsOf(sides, { ...load, qos }),
        },
        options,
      ),
    )
  }
  return rows
}

export const mqtt: Area = {
  name: 'mqtt',
  summary: 'mqtt.publish on its whole path and receiving, beside bare mqtt.js and paho, on mosquitto',
  missing: brokerMissing,
  run: (options) =>
    withFolder('mqtt', async (folder) => {
      const broker = await startBroker()
      const instance = join(folder, 'instance')
      mkdirSync(instance)
      makeInstanceFolder(instance, {
        settings: {
          // One at a time is what is measured, and not the queue: see the area `admission`.
          mqtt: { throttling: { max_publish_rate: 0, max_inflight: WINDOW }, admission: { max_concurrent: WINDOW } },
        },
        target: { mqtt: { brokers: [{ url: broker.url }] } },
      })
      const ours = await startSide<MqttSide>(new URL('./sides/mqtt.ts', import.meta.url), options)
      const bareModule = new URL('./peers/bare-mqtt.ts', import.meta.url)
      const [bare, sender] = [await startSide<BareMqtt>(bareModule), await startSide<BareMqtt>(bareModule)]
      const missing = pahoMissing()
      if (missing !== undefined) options.say(`  the row beside paho is left out: ${missing}`)
      const paho = missing === undefined ? await startPaho() : undefined
      const sides: Sides = { ours, bare, sender, paho, broker, pragmas: await journalPragmas(folder) }
      try {
        await ours.call('open', { folder: instance, url: broker.url })
        for (const side of [bare, sender]) await side.call('open', { url: broker.url })
        await paho?.open({ host: broker.host, port: broker.port, window: WINDOW })
        const rows: Row[] = []
        for (const qos of QOS) rows.push(...(await publishRows(options, sides, qos)))
        rows.push(...(await latencyRows(options, sides)))
        rows.push(...(await deviceRows(options, broker, folder)))
        // Last, for it leaves its subscriptions.
        return [...rows, ...(await receiveRows(options, sides))]
      } finally {
        await Promise.all([ours.end(), bare.end(), sender.end(), paho?.close()])
        await broker.close()
      }
    }),
}
