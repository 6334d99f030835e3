/**
 * The parts of prom-client that are used here, each by its own file: its index loads the default metrics as well, and
 * with them the API of OpenTelemetry, which every start would pay for.
 */
import { createRequire } from 'node:module'
import type * as prometheus from 'prom-client'

const require = createRequire(import.meta.url)

export const Counter: typeof prometheus.Counter = require('prom-client/lib/counter.js')
export const Gauge: typeof prometheus.Gauge = require('prom-client/lib/gauge.js')
export const Histogram: typeof prometheus.Histogram = require('prom-client/lib/histogram.js')
export const Registry: typeof prometheus.Registry = require('prom-client/lib/registry.js')

export type Counter<Label extends string = string> = prometheus.Counter<Label>
export type Registry = prometheus.Registry
export type { Metric } from 'prom-client'
