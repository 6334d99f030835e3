import type { FastifyInstance } from 'fastify'
import type { Instance } from '../../runtime/instance.ts'
import { observeProcess } from '../../telemetry/metrics.ts'
import { Counter, Gauge, Histogram, Registry } from '../../telemetry/prometheus.ts'
import { EVENT_STREAM_TYPE } from './event-stream.ts'

const SECONDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60]

export interface HttpMetrics {
  /** Counts the requests of one application. */
  observe(app: FastifyInstance, via: 'tcp' | 'socket'): void
  /** Everything that is measured, in the text format of Prometheus. */
  text(): Promise<string>
  close(): void
}

/** What the server measures of itself and of its process, beside what the instance measures. */
export function createHttpMetrics(instance: Instance): HttpMetrics {
  const registry = new Registry()
  const registers = [registry]
  const stopObserving = observeProcess(registry)
  const requests = new Counter({
    name: 'mahavishnu_http_requests_total',
    help: 'Answered requests, by the route that they met.',
    labelNames: ['via', 'method', 'route', 'status'] as const,
    registers,
  })
  const duration = new Histogram({
    name: 'mahavishnu_http_request_duration_seconds',
    help: 'Time from the head of a request to the end of its answer. Streams of events are not in it.',
    labelNames: ['via', 'route'] as const,
    buckets: SECONDS,
    registers,
  })
  const active = new Gauge({
    name: 'mahavishnu_http_requests_active',
    help: 'Requests that are being answered, streams of events among them.',
    labelNames: ['via'] as const,
    registers,
  })

  return {
    observe(app, via) {
      app.addHook('onRequest', async (request, { raw }) => {
        active.inc({ via })
        const began = performance.now()
        // At the end of the connection's part in it: answers that a protocol of its own writes count too.
        raw.once('close', () => {
          active.dec({ via })
          // Patterns of routes, never paths: labels are bounded.
          const { url: route = 'none' } = request.routeOptions
          requests.inc({ via, method: route === 'none' ? 'any' : request.method, route, status: raw.statusCode })
          const streamed = String(raw.getHeader('content-type')).startsWith(EVENT_STREAM_TYPE)
          if (!streamed) duration.observe({ via, route }, (performance.now() - began) / 1000)
        })
      })
    },
    text: async () => `${await instance.metrics()}${await registry.metrics()}`,
    close: stopObserving,
  }
}

export function addMetricsRoute(app: FastifyInstance, metrics: HttpMetrics): void {
  app.get('/metrics', { exposeHeadRoute: false }, async (_request, reply) => {
    return reply.type(Registry.PROMETHEUS_CONTENT_TYPE).send(await metrics.text())
  })
}
