import type { MetricSample, MetricSpec } from '../core/metric.ts'
import type { Metric, Registry } from './prometheus.ts'

/** A worker with the metrics that it declares. */
export interface MeasuredWorker {
  readonly name: string
  readonly metrics?: readonly MetricSpec[]
}

interface Value {
  readonly value: number
  readonly labels: Readonly<Record<string, string | number>>
  readonly metricName?: string
}

/**
 * Adds the metrics that workers declare. They are asked for when all metrics are; a worker that is not running, or does
 * not answer, has none; of the latter `onError` is told.
 */
export function observeDeclared(
  registry: Registry,
  workers: readonly MeasuredWorker[],
  samplesOf: (worker: string) => Promise<readonly MetricSample[]>,
  onError: (worker: string, error: unknown) => void,
): void {
  for (const { name: worker, metrics = [] } of workers) {
    let asked: Promise<readonly MetricSample[]> | undefined
    // One question for all metrics of one look.
    const ask = () => {
      asked ??= samplesOf(worker)
        .catch((error: unknown) => {
          onError(worker, error)
          return []
        })
        .finally(() => {
          asked = undefined
        })
      return asked
    }
    for (const spec of metrics) registry.registerMetric(metricOf(spec, ask) as unknown as Metric)
  }
}

function metricOf(spec: MetricSpec, ask: () => Promise<readonly MetricSample[]>) {
  const name = `mahavishnu_${spec.name}`
  return {
    name,
    help: spec.help,
    type: spec.kind,
    aggregator: 'sum',
    labelNames: Object.keys(spec.labels ?? {}),
    reset: () => undefined,
    async get() {
      const mine = (await ask()).filter((sample) => sample.name === spec.name)
      const values = merged(mine.flatMap((sample) => valuesOf(spec, name, sample)))
      return { name, help: spec.help, type: spec.kind, aggregator: 'sum', values }
    },
  }
}

function valuesOf(spec: MetricSpec, name: string, sample: MetricSample): readonly Value[] {
  const labels = boundedLabels(spec, sample)
  if ('value' in sample) return [{ value: sample.value, labels }]
  let below = 0
  const buckets = (spec.buckets ?? []).map((le, index) => {
    below += sample.buckets[index] ?? 0
    return { metricName: `${name}_bucket`, value: below, labels: { ...labels, le } }
  })
  return [
    ...buckets,
    { metricName: `${name}_bucket`, value: sample.count, labels: { ...labels, le: '+Inf' } },
    { metricName: `${name}_sum`, value: sample.sum, labels },
    { metricName: `${name}_count`, value: sample.count, labels },
  ]
}

function boundedLabels(spec: MetricSpec, { labels = {} }: MetricSample): Record<string, string> {
  const known = Object.entries(spec.labels ?? {})
  return Object.fromEntries(
    known.map(([label, values]) => [label, values.find((one) => one === labels[label]) ?? 'other']),
  )
}

/** Several that became `other` are one. */
function merged(values: readonly Value[]): readonly Value[] {
  const found = new Map<string, Value>()
  for (const each of values) {
    const key = JSON.stringify([each.metricName, each.labels])
    found.set(key, { ...each, value: each.value + (found.get(key)?.value ?? 0) })
  }
  return [...found.values()]
}
