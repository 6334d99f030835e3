import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { z } from 'zod'
import { systemClock } from '../../src/core/clock.ts'
import type { ConnectAttempt, WorkerContext } from '../../src/core/context.ts'
import { mhvError } from '../../src/core/errors.ts'
import { newId } from '../../src/core/ids.ts'
import { createRedactor } from '../../src/governance/redaction.ts'
import { UNLIMITED } from '../../src/resilience/bandwidth.ts'
import { recordsOf, stateOf } from '../../src/runtime/worker-journal.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'
import { type MqttWorker, startMqtt } from '../../src/workers/mqtt/background.ts'
import type { IncomingMessage, MqttSession } from '../../src/workers/mqtt/client/mqtt-session.ts'
import type { MqttContext } from '../../src/workers/mqtt/context.ts'
import { type MqttSettings, type MqttTarget, mqttSettings, mqttTarget } from '../../src/workers/mqtt/settings.ts'
import type { Mosquitto } from './mosquitto.ts'
import { memorySink, recordingLog, tableSecrets } from './ssh-context.ts'

/** Contexts as the runtime makes them, without the runtime. */

export interface TestMqttWorker extends AsyncDisposable {
  readonly connection: MqttWorker
  readonly settings: MqttSettings
  readonly log: ReturnType<typeof recordingLog>
  readonly attempts: ConnectAttempt[]
  session(target: MqttTarget): MqttSession
  /** What one attempt of an operation gets. */
  context(target: MqttTarget, options?: { timeoutMs?: number; principal?: string }): MqttContext
}

/** Quick enough for tests: waits are short, and nobody is held back by a rate. */
const QUICK = {
  connect_timeout: 5,
  reconnect_base: 0.02,
  reconnect_cap: 0.2,
  subscription_health_check: 0,
  throttling: { max_publish_rate: 0 },
}

export async function startMqttWorker(
  options: {
    settings?: z.input<typeof mqttSettings>
    secrets?: Readonly<Record<string, string>>
    /** Values that were resolved as secrets: the journal refuses them in the state, and masks them in records. */
    known_secrets?: readonly string[]
    /** Where outbox and messages are kept; otherwise in memory. */
    store?: Store
    /** Targets of the inventory, by name. */
    targets?: Readonly<Record<string, MqttTarget>>
  } = {},
): Promise<TestMqttWorker> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-mqtt-'))
  const { throttling, ...more } = options.settings ?? {}
  const settings = mqttSettings.parse({ ...QUICK, ...more, throttling: { ...QUICK.throttling, ...throttling } })
  const log = recordingLog()
  const attempts: ConnectAttempt[] = []
  const secrets = tableSecrets(options.secrets)
  const kept = { store: options.store ?? createMemoryStore(), redactor: createRedactor() }
  for (const value of options.known_secrets ?? []) kept.redactor.add(value)
  const journal = { state: stateOf(kept, 'mqtt'), records: recordsOf(kept, 'mqtt') }
  const need = async (port: string): Promise<never> => {
    throw mhvError('MHV_PORT_MISSING', port)
  }
  const context = {
    worker_id: 'mqtt-test',
    settings,
    folder,
    clock: systemClock,
    log,
    secrets,
    ...journal,
    targets: async () =>
      Object.entries(options.targets ?? {}).map(([name, address]) => ({
        target: { name, tier: 'dev', tags: [], groups: [], address },
        settings,
      })),
    onConnect: (attempt: ConnectAttempt) => attempts.push(attempt),
    need,
  } as unknown as WorkerContext<MqttSettings>
  const connection = await startMqtt(context)
  return {
    connection,
    settings,
    log,
    attempts,
    session: (target) => connection.broker({ target, settings }),
    context(target, { timeoutMs = 20_000, principal = 'user:test' } = {}) {
      const controller = new AbortController()
      systemClock.after(timeoutMs, () => controller.abort(mhvError('MHV_RUN_TIMEOUT', 'the deadline has passed')))
      return {
        run_id: newId(systemClock),
        attempt: 1,
        principal: { id: principal, kind: 'user' },
        effect: 'write',
        target: { name: 'site-1', tier: 'dev', tags: [], groups: [], address: target },
        connection,
        settings,
        signal: controller.signal,
        deadline: Date.now() + timeoutMs,
        clock: systemClock,
        log,
        secrets,
        ...journal,
        output: memorySink(),
        bandwidth: UNLIMITED,
        progress: async () => undefined,
        need,
      } as unknown as MqttContext
    },
    async [Symbol.asyncDispose]() {
      await connection.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** The target that a broker is, or several are. */
export function brokerTarget(brokers: Mosquitto | readonly Mosquitto[], more: object = {}): MqttTarget {
  const list = 'url' in brokers ? [brokers] : brokers
  return mqttTarget.parse({ brokers: list.map(({ url }) => ({ url })), ...more })
}

export const never = new AbortController().signal

/** A message with the least in it. */
export function message(topic: string, payload: string, qos: 0 | 1 | 2 = 1) {
  return { topic, payload: Buffer.from(payload), qos, retain: false } as const
}

/** The texts of messages, as they come. */
export function recorder() {
  const got: string[] = []
  const messages: IncomingMessage[] = []
  return {
    got,
    messages,
    onMessage(incoming: IncomingMessage) {
      messages.push(incoming)
      got.push(`${incoming.topic} ${Buffer.from(incoming.payload)}`)
    },
  }
}
