import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import type { MetricSample, MetricSpec } from '../core/metric.ts'
import { createMqttMeter, mqttMetrics, topicClass } from '../workers/mqtt/metrics.ts'
import { observeDeclared } from './declared-metrics.ts'
import { Registry } from './prometheus.ts'

const metrics: readonly MetricSpec[] = [
  { name: 'x_total', kind: 'counter', help: 'Counts.', labels: { colour: ['red', 'blue'] } },
  { name: 'x_seconds', kind: 'histogram', help: 'Takes.', buckets: [0.1, 1] },
  { name: 'x_now', kind: 'gauge', help: 'Is.' },
]

const failed: string[] = []

async function linesOf(samples: () => Promise<readonly MetricSample[]>, specs = metrics): Promise<readonly string[]> {
  const registry = new Registry()
  observeDeclared(registry, [{ name: 'probe', metrics: specs }, { name: 'other' }], samples, (worker) =>
    failed.push(worker),
  )
  const text = await registry.metrics()
  return text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
}

suite('metrics that a worker declares', () => {
  test('are shown as it measures them, asked for once', async () => {
    let asked = 0
    const lines = await linesOf(async () => {
      asked += 1
      return [
        { name: 'x_total', labels: { colour: 'red' }, value: 3 },
        { name: 'x_seconds', buckets: [2, 1], sum: 1.5, count: 4 },
        { name: 'x_now', value: 7 },
        { name: 'undeclared', value: 1 },
      ]
    })
    assert.deepEqual(lines, [
      'mahavishnu_x_total{colour="red"} 3',
      'mahavishnu_x_seconds_bucket{le="0.1"} 2',
      'mahavishnu_x_seconds_bucket{le="1"} 3',
      'mahavishnu_x_seconds_bucket{le="+Inf"} 4',
      'mahavishnu_x_seconds_sum 1.5',
      'mahavishnu_x_seconds_count 4',
      'mahavishnu_x_now 7',
    ])
    assert.equal(asked, 1)
  })

  test('have no other labels and values than those that were declared', async () => {
    const lines = await linesOf(async () => [
      { name: 'x_total', labels: { colour: 'green', topic: 'a/b' }, value: 1 },
      { name: 'x_total', labels: { colour: 'a secret place', topic: 'c' }, value: 2 },
    ])
    assert.deepEqual(lines, ['mahavishnu_x_total{colour="other"} 3'])
  })

  test('are none where the worker does not answer', async () => {
    assert.deepEqual(await linesOf(() => Promise.reject(new Error('gone'))), [])
    assert.ok(failed.length >= 1 && failed.every((worker) => worker === 'probe'))
  })

  test('of MQTT have the class of a topic, never the topic', async () => {
    const meter = createMqttMeter()
    meter.onOutcome('mahavishnu/commands/pump-7', 'delivered', 0.004)
    meter.onOutcome('mahavishnu/commands/pump-8', 'delivered', 100)
    meter.onOutcome('private/place', 'expired', 1)
    meter.onRejected([{ topic: 'sensors/x' }, { topic: 'sensors/y' }])
    const lines = await linesOf(async () => meter.samples(), mqttMetrics)
    assert.ok(
      lines.includes('mahavishnu_mqtt_messages_total{topic_class="commands",outcome="delivered"} 2'),
      lines.join(),
    )
    assert.ok(lines.includes('mahavishnu_mqtt_messages_total{topic_class="other",outcome="expired"} 1'))
    assert.ok(lines.includes('mahavishnu_mqtt_messages_total{topic_class="sensors",outcome="rejected"} 2'))
    assert.ok(lines.some((line) => line.startsWith('mahavishnu_mqtt_delivery_seconds_bucket{') && line.endsWith(' 1')))
    assert.ok(lines.includes('mahavishnu_mqtt_delivery_seconds_count{topic_class="commands"} 2'))
    assert.doesNotMatch(lines.join('\n'), /pump|place/)
    assert.deepEqual(['sensors/a', 'gateways/b', 'mahavishnu/ota/x', 'mahavishnu', 'x'].map(topicClass), [
      'sensors',
      'gateways',
      'ota',
      'other',
      'other',
    ])
  })
})
