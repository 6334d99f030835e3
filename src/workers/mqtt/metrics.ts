import type { MetricSample, MetricSpec } from '../../core/metric.ts'
import type { MqttConnection } from './client/mqtt-session.ts'
import type { RemovalReason } from './outbox/ledger.ts'
import type { Outboxes } from './outbox/outbox.ts'
import type { StandingFacts } from './standing/standing.ts'

/** Classes of topics of the default hierarchy: labels are these, never topics. */
export const TOPIC_CLASSES = ['commands', 'ota', 'config', 'status', 'sensors', 'gateways', 'other'] as const
export type TopicClass = (typeof TOPIC_CLASSES)[number]

const OWN = 'mahavishnu/'

export function topicClass(topic: string): TopicClass {
  const from = topic.startsWith(OWN) ? OWN.length : 0
  const to = topic.indexOf('/', from)
  const level = topic.slice(from, to < 0 ? topic.length : to)
  return TOPIC_CLASSES.find((name) => name === level) ?? 'other'
}

const OUTCOMES = ['delivered', 'refused', 'expired', 'dropped', 'removed', 'rejected'] as const
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60]
const topic_class = TOPIC_CLASSES

export const mqttMetrics: readonly MetricSpec[] = [
  {
    name: 'mqtt_messages_total',
    kind: 'counter',
    help: 'QoS 1 and 2 messages by what became of them; rejected ones were never accepted.',
    labels: { topic_class, outcome: OUTCOMES },
  },
  {
    name: 'mqtt_delivery_seconds',
    kind: 'histogram',
    help: 'Time from accepting a QoS 1 or 2 message until a broker has acknowledged it.',
    labels: { topic_class },
    buckets: SECONDS,
  },
  { name: 'mqtt_outbox_messages', kind: 'gauge', help: 'Messages that wait in all outboxes.' },
  { name: 'mqtt_outbox_bytes', kind: 'gauge', help: 'Bytes of the messages that wait in all outboxes.' },
  {
    name: 'mqtt_outbox_oldest_seconds',
    kind: 'gauge',
    help: 'Age of the oldest message that waits; 0 where none does.',
  },
  { name: 'mqtt_resent_total', kind: 'counter', help: 'Sends of messages that had been sent before.' },
  { name: 'mqtt_connections', kind: 'gauge', help: 'Connections to brokers that are wanted.' },
  { name: 'mqtt_connections_up', kind: 'gauge', help: 'Connections to brokers that are there.' },
  { name: 'mqtt_connections_lost_total', kind: 'counter', help: 'Connections that were lost.' },
  {
    name: 'mqtt_sessions_lost_total',
    kind: 'counter',
    help: 'Times that a broker came back without the session that it was to keep: what waited in it is lost.',
  },
  { name: 'mqtt_broker_switches_total', kind: 'counter', help: 'Changes to another broker of the list.' },
  { name: 'mqtt_received_total', kind: 'counter', help: 'Messages received.' },
  { name: 'mqtt_received_dropped_total', kind: 'counter', help: 'QoS 0 messages dropped because a buffer was full.' },
  {
    name: 'mqtt_received_impostors_total',
    kind: 'counter',
    help: 'Messages handed to nobody: their payload or their sender is another device than their topic says.',
  },
  { name: 'mqtt_subscriptions', kind: 'gauge', help: 'Subscriptions of all connections.' },
  {
    name: 'mqtt_standing_subscriptions',
    kind: 'gauge',
    help: 'Standing subscriptions by state.',
    labels: { state: ['active', 'failing'] },
  },
  {
    name: 'mqtt_recorded_total',
    kind: 'counter',
    help: 'Messages of standing subscriptions: received, kept in the journal, and lost because it did not take them.',
    labels: { outcome: ['received', 'kept', 'lost'] },
  },
]

interface Latency {
  readonly buckets: number[]
  sum: number
  count: number
}

/** Counts what the outboxes tell; cheap enough for every message. */
export function createMqttMeter() {
  const outcomes = new Map<TopicClass, Map<string, number>>()
  const latencies = new Map<TopicClass, Latency>()

  function count(topic: string, outcome: (typeof OUTCOMES)[number], messages = 1): TopicClass {
    const name = topicClass(topic)
    const counts = outcomes.get(name) ?? new Map<string, number>()
    outcomes.set(name, counts.set(outcome, (counts.get(outcome) ?? 0) + messages))
    return name
  }

  return {
    onOutcome(topic: string, outcome: RemovalReason, seconds: number): void {
      const name = count(topic, outcome)
      if (outcome !== 'delivered') return
      const latency = latencies.get(name) ?? { buckets: SECONDS.map(() => 0), sum: 0, count: 0 }
      latencies.set(name, latency)
      latency.sum += seconds
      latency.count += 1
      const at = SECONDS.findIndex((bound) => seconds <= bound)
      if (at >= 0) latency.buckets[at] = (latency.buckets[at] ?? 0) + 1
    },
    onRejected(messages: readonly { readonly topic: string }[]): void {
      for (const { topic } of messages) count(topic, 'rejected')
    },
    samples(): MetricSample[] {
      const counted = [...outcomes].flatMap(([topic_class, counts]) =>
        [...counts].map(([outcome, value]) => ({
          name: 'mqtt_messages_total',
          labels: { topic_class, outcome },
          value,
        })),
      )
      const timed = [...latencies].map(([topic_class, { buckets, sum, count }]) => ({
        name: 'mqtt_delivery_seconds',
        labels: { topic_class },
        buckets: [...buckets],
        sum,
        count,
      }))
      return [...counted, ...timed]
    },
  }
}

/** What is asked for when the metrics are. */
export function gaugesOf(
  connection: Pick<MqttConnection, 'stats'>,
  outboxes: Pick<Outboxes, 'all'>,
  standing: StandingFacts,
  now: number,
): MetricSample[] {
  const statuses = [...outboxes.all().values()].map((outbox) => outbox.status())
  const sum = (of: (status: (typeof statuses)[number]) => number) =>
    statuses.reduce((total, each) => total + of(each), 0)
  const stats = connection.stats()
  const stat = (name: string) => Number(stats[name] ?? 0)
  const oldest = Math.min(now, ...statuses.flatMap(({ oldest_at }) => (oldest_at === null ? [] : [oldest_at])))
  const plain: Readonly<Record<string, number>> = {
    mqtt_outbox_messages: sum(({ waiting }) => waiting),
    mqtt_outbox_bytes: sum(({ bytes }) => bytes),
    mqtt_outbox_oldest_seconds: (now - oldest) / 1000,
    mqtt_resent_total: sum(({ resent }) => resent),
    mqtt_connections: stat('connections'),
    mqtt_connections_up: stat('connected'),
    mqtt_connections_lost_total: stat('lost'),
    mqtt_sessions_lost_total: stat('sessions_lost'),
    mqtt_broker_switches_total: stat('switches'),
    mqtt_received_total: stat('received'),
    mqtt_received_dropped_total: stat('dropped'),
    mqtt_received_impostors_total: stat('impostors'),
    mqtt_subscriptions: stat('subscriptions'),
  }
  const { active, failing, received, kept, lost } = standing
  return [
    ...Object.entries(plain).map(([name, value]) => ({ name, value })),
    { name: 'mqtt_standing_subscriptions', labels: { state: 'active' }, value: active },
    { name: 'mqtt_standing_subscriptions', labels: { state: 'failing' }, value: failing.length },
    ...Object.entries({ received, kept, lost }).map(([outcome, value]) => ({
      name: 'mqtt_recorded_total',
      labels: { outcome },
      value,
    })),
  ]
}
