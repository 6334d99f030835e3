import { settingsFor } from '../config/layers.ts'
import { createSecretResolver } from '../config/secrets.ts'
import type { CliApp } from '../surfaces/cli/commands.ts'
import { startDeviceSimulator } from '../testing/device-simulator.ts'
import type { DeviceBehaviour } from '../testing/simulated-device.ts'
import { connectError, refusedConnect } from '../workers/mqtt/client/link/connect-errors.ts'
import { readCredentials } from '../workers/mqtt/client/link/credentials.ts'
import { endpointOf } from '../workers/mqtt/client/link/endpoint.ts'
import type { MqttSettings, MqttTarget } from '../workers/mqtt/settings.ts'
import { readSetting, type SettingParts } from './setting.ts'

/** Connections that many devices share. */
const MOST_CONNECTIONS = 10
const STEP_MS = 50

/** Devices of the demo: the first says no, the second is lost, the third cannot verify what it loads; all others do well. */
function behaviourOf(_: string, index: number): DeviceBehaviour {
  const command = index === 0 ? 'reject' : index === 1 ? 'ignore' : 'acknowledge'
  return { command, ota: index === 2 ? 'fail_verified' : 'update', step_ms: STEP_MS }
}

/** Simulated devices at the first broker of a target, by the credentials that the target has for us. */
export function createDemos(parts: SettingParts): CliApp['demos'] {
  return {
    async mqtt(place, { target, devices }) {
      const setting = await readSetting(parts, { ...place, doing: 'demo mqtt' })
      const { target: found, overrides } = setting.inventory.resolve(target, 'mqtt')
      const address = found.address as MqttTarget
      const { ota } = settingsFor(setting.loaded, parts.registry.worker('mqtt'), overrides) as unknown as MqttSettings
      const secrets = createSecretResolver({ folder: setting.folder, env: parts.env, onResolved: () => undefined })
      const { username, password, ca, cert, key, passphrase } = await readCredentials(address, secrets, setting.folder)
      const [broker] = address.brokers
      const ids = Array.from({ length: devices }, (_, index) => `demo-${String(index + 1).padStart(4, '0')}`)
      const tls = { ca, cert, key, passphrase, servername: broker?.server_name }
      const started = startDeviceSimulator({
        url: broker?.url ?? '',
        ids,
        connections: Math.min(MOST_CONNECTIONS, devices),
        protocol: address.protocol,
        behaviour: behaviourOf,
        forget: true,
        client: {
          username,
          password,
          ...Object.fromEntries(Object.entries(tls).filter(([, value]) => value !== undefined)),
        },
      })
      const simulator = await started.catch((error: unknown) => {
        const { code } = error as { readonly code?: unknown }
        if (broker === undefined) throw error
        throw typeof code === 'number'
          ? refusedConnect(code, undefined, endpointOf(broker))
          : connectError(error, endpointOf(broker))
      })
      return {
        ids,
        url: broker?.url ?? '',
        firmware_folder: ota.allowed_urls.find((each) => each.endsWith('/')) ?? null,
        measure: () => simulator.measure(1),
        close: () => simulator.close(),
      }
    },
  }
}
