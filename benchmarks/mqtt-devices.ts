/** One command to many devices, with their acknowledgements: `mqtt.publish_to_devices` on its whole path. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type BenchOptions, interleavingOf } from './harness/area.ts'
import { makeInstanceFolder } from './harness/instance-folder.ts'
import { interleave } from './harness/interleave.ts'
import type { BenchBroker } from './harness/mosquitto.ts'
import { type Row, toRow } from './harness/row.ts'
import { startSide } from './harness/side.ts'
import { median } from './harness/stats.ts'
import type { SimulatedDevices } from './peers/simulated-devices.ts'
import type { MqttDevicesSide } from './sides/mqtt-devices.ts'

const DEVICES = 10_000
const CONNECTIONS = 10
/** The default would send to them for 98 seconds. */
const CHANGED = { 'throttling.max_publish_rate': 0 }

export async function deviceRows(options: BenchOptions, broker: BenchBroker, folder: string): Promise<readonly Row[]> {
  const own = join(folder, 'devices')
  mkdirSync(own)
  makeInstanceFolder(own, {
    settings: { mqtt: { throttling: { max_publish_rate: 0 } } },
    target: { mqtt: { brokers: [{ url: broker.url }] } },
  })
  const ids = Array.from({ length: DEVICES }, (_, index) => `device-${index + 1}`)
  const ours = await startSide<MqttDevicesSide>(new URL('./sides/mqtt-devices.ts', import.meta.url), options)
  const devices = await startSide<SimulatedDevices>(new URL('./peers/simulated-devices.ts', import.meta.url))
  try {
    await ours.call('open', { folder: own })
    await devices.call('open', { url: broker.url, ids, connections: CONNECTIONS })
    const values = await interleave(
      { ours: () => ours.call('command', { ids }) },
      interleavingOf(options, `${DEVICES} devices`, 1),
    )
    return [
      toRow(
        {
          name: `mqtt.devices.${DEVICES}`,
          title: 'seconds for one command to 10,000 simulated devices, until all have acknowledged it, QoS 1',
          unit: 's',
          better: 'lower',
          ours: values.ours.map(median),
          goal: { of: 'ours', is: '<=', limit: 10 },
          settings: {
            changed: CHANGED,
            qos: 1,
            devices: 'simulated, on a process of their own',
            device_connections: CONNECTIONS,
            ...broker.settings,
            policy: 'agent-safe',
          },
        },
        options,
      ),
    ]
  } finally {
    await Promise.all([ours.end(), devices.end()])
  }
}
