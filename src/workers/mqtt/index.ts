import { defineWorker } from '../../core/worker.ts'
import type { MqttWorker } from './background.ts'
import { deviceStatus } from './devices/device-status.ts'
import { deviceMetrics } from './devices/metrics.ts'
import { publishToDevices } from './devices/publish-to-devices.ts'
import { mqttMetrics } from './metrics.ts'
import { triggerOta } from './ota/trigger-ota.ts'
import { outboxDrop } from './outbox/outbox-drop.ts'
import { outboxInspect } from './outbox/outbox-inspect.ts'
import { outboxStatus } from './outbox/outbox-status.ts'
import { publish } from './publish/publish.ts'
import { type MqttSettings, type MqttTarget, mqttSettings, mqttTarget } from './settings.ts'
import { messages } from './standing/messages.ts'
import { brokerStatus } from './subscribe/broker-status.ts'
import { request } from './subscribe/request.ts'
import { retained } from './subscribe/retained.ts'
import { subscribe } from './subscribe/subscribe.ts'

export const mqtt = defineWorker<typeof mqttSettings, typeof mqttTarget, MqttWorker>({
  name: 'mqtt',
  title: 'Messages over MQTT',
  description:
    'Publishes and subscribes over MQTT 5 or 3.1.1, with TCP, TLS or WebSocket. It needs a list of brokers, the first of ' +
    'which is used whenever it is healthy. One connection per broker list and identity is kept and shared by all runs.',
  settings: mqttSettings,
  target: mqttTarget,
  breaker: { failure_threshold: 10, recovery_timeout: 60, half_open_max_calls: 5 },

  async connect(context) {
    const { startMqtt } = await import('./background.ts')
    return startMqtt(context)
  },
  // Messages that wait in the outbox and standing subscriptions are nobody's call.
  standing: (_settings, targets) => targets.length > 0,
  metrics: [...mqttMetrics, ...deviceMetrics],
  async ping(connection, target, signal) {
    const { pingBroker } = await import('./client/ping.ts')
    return pingBroker(connection, target, signal)
  },

  slos: [
    {
      name: 'mqtt_publish_success',
      description: 'QoS 1 and 2 messages that a broker acknowledged, among all that were accepted',
      kind: 'ratio',
      target: 0.999,
      window_days: 30,
    },
    {
      name: 'mqtt_connection_uptime',
      description: 'Time with a connection, among all time in which one was wanted',
      kind: 'ratio',
      target: 0.995,
      window_days: 30,
    },
    {
      name: 'mqtt_delivery_latency',
      description: 'Time from accepting a QoS 1 or 2 message until a broker has acknowledged it',
      kind: 'latency',
      target: 1,
      percentile: 95,
      window_days: 7,
    },
  ],

  recovery: {
    codes: {
      MHV_MQTT_CONNECT_REFUSED: { strategy: 'retry', max_attempts: 3 },
      MHV_MQTT_CONNECT_TIMEOUT: { strategy: 'retry', max_attempts: 3 },
      MHV_MQTT_CONNECT_FAILED: { strategy: 'retry', max_attempts: 3 },
      MHV_MQTT_NOT_CONNECTED: { strategy: 'retry', max_attempts: 3 },
      MHV_MQTT_SUBSCRIBE_REJECTED: { strategy: 'notify', max_attempts: 1 },
      MHV_MQTT_CONNECTION_LOST: { strategy: 'notify', max_attempts: 1 },
      MHV_MQTT_AUTH_FAILED: { strategy: 'skip', max_attempts: 1, notify: true },
    },
    categories: { permission: { strategy: 'skip', max_attempts: 1 } },
  },

  operations: [
    publish,
    subscribe,
    request,
    retained,
    publishToDevices,
    triggerOta,
    deviceStatus,
    brokerStatus,
    messages,
    outboxStatus,
    outboxInspect,
    outboxDrop,
  ],
})

export type { MqttSettings, MqttTarget }
