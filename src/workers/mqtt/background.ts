import type { WorkerContext } from '../../core/context.ts'
import type { MetricSample } from '../../core/metric.ts'
import { createMqttConnection } from './client/connection.ts'
import type { MqttConnection } from './client/mqtt-session.ts'
import { createDeviceMeter, type DeviceMeter } from './devices/metrics.ts'
import { createMqttMeter, gaugesOf } from './metrics.ts'
import type { Outboxes } from './outbox/outbox.ts'
import { openOutboxes } from './outbox/outboxes.ts'
import type { MqttSettings } from './settings.ts'
import { type StandingFacts, startStanding } from './standing/standing.ts'

/** The worker at work: its connections, and what goes on without a call. */
export interface MqttWorker extends MqttConnection {
  readonly outboxes: Outboxes
  readonly devices: DeviceMeter
  standing(): StandingFacts
  metrics(): readonly MetricSample[]
}

/** Sends on what waits on disk, and makes the standing subscriptions. @throws what the journal throws */
export async function startMqtt(context: WorkerContext<MqttSettings>): Promise<MqttWorker> {
  const connection = createMqttConnection(context)
  await using undo = new AsyncDisposableStack()
  undo.defer(() => connection.close())
  const meter = createMqttMeter()
  const devices = createDeviceMeter()
  const outboxes = await openOutboxes(context, connection, meter)
  undo.defer(() => outboxes.close())
  const standing = await startStanding(context, connection)
  undo.defer(() => standing.close())
  // From here on they live until the worker is closed: the last made is closed first.
  const all = undo.move()
  return {
    ...connection,
    outboxes,
    devices,
    standing: standing.facts,
    stats() {
      const facts = standing.facts()
      const statuses = [...outboxes.all().values()].map((outbox) => outbox.status())
      return {
        ...connection.stats(),
        outbox_waiting: statuses.reduce((sum, { waiting }) => sum + waiting, 0),
        outbox_bytes: statuses.reduce((sum, { bytes }) => sum + bytes, 0),
        standing: `${facts.active} of ${facts.configured}`,
        ...(facts.failing.length === 0 ? {} : { standing_failing: facts.failing.join(', ') }),
      }
    },
    metrics: () => [
      ...meter.samples(),
      ...devices.samples(),
      ...gaugesOf(connection, outboxes, standing.facts(), context.clock.now()),
    ],
    close: () => all.disposeAsync(),
  }
}
