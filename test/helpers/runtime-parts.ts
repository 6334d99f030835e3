import { afterEach } from 'node:test'
import { z } from 'zod'
import { deadLetterSettingsSchema } from '../../src/config/dead-letter-schema.ts'
import type { Clock } from '../../src/core/clock.ts'
import type { Logger, OperationContext, Principal, Tier } from '../../src/core/context.ts'
import type { EnvelopeInput } from '../../src/core/envelope.ts'
import { mhvError } from '../../src/core/errors.ts'
import type { Notification } from '../../src/core/notifier.ts'
import { defineOperation, type OperationSpec } from '../../src/core/operation.ts'
import { createRegistry } from '../../src/core/registry.ts'
import { createSecret } from '../../src/core/secret.ts'
import type { AnyWorker } from '../../src/core/worker.ts'
import { parsePolicy } from '../../src/governance/policy-file.ts'
import { createRedactor, type Redactor } from '../../src/governance/redaction.ts'
import { type Admission, type AdmissionLimits, createAdmission } from '../../src/resilience/admission.ts'
import { createBandwidths } from '../../src/resilience/bandwidth.ts'
import { createCircuitBreakers } from '../../src/resilience/circuit-breakers.ts'
import { createRetryPolicy, type RetryLimits } from '../../src/resilience/retry.ts'
import { type Batches, createBatches } from '../../src/runtime/batch.ts'
import { callControl } from '../../src/runtime/call-control.ts'
import { createDeadLetters, type DeadLetters } from '../../src/runtime/dead-letters.ts'
import { createInvoker } from '../../src/runtime/invoke.ts'
import { withLease } from '../../src/runtime/leases.ts'
import { createWorkerInstances } from '../../src/runtime/lifecycle.ts'
import { createLiveRuns } from '../../src/runtime/live-runs.ts'
import type { Environment, InvokeRequest, RunSettings, RuntimeParts } from '../../src/runtime/runtime.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import type { Store } from '../../src/store/store.ts'
import { createRunMetrics } from '../../src/telemetry/metrics.ts'
import { createFakeClock, type FakeClock } from '../../src/testing/fake-clock.ts'
import { createLedger, createProbeWorker, type ProbeLedger } from '../../src/testing/probe-worker.ts'

export const ALICE: Principal = { id: 'user:alice', kind: 'user' }
export const BOB: Principal = { id: 'agent:bob', kind: 'agent' }

export const ALLOW_ALL = 'version: 1\nname: all\nrules:\n  - { id: all, decision: allow }\n'

export type TestTargets = Readonly<Record<string, { tier: Tier; tags: string[]; groups?: string[] }>>

const TARGETS: TestTargets = {
  one: { tier: 'dev', tags: [] },
  two: { tier: 'dev', tags: [] },
  vault: { tier: 'prod', tags: ['pci'] },
}

/** What a scripted operation does; the test gives it. */
export type Script = (context: OperationContext, value: string) => unknown

export interface FixtureOptions {
  readonly clock?: Clock
  readonly store?: Store
  /** Changes the parts before the path is put together: the place for mechanisms that are off. */
  readonly change?: (parts: RuntimeParts) => RuntimeParts
  readonly worker?: (worker: AnyWorker) => AnyWorker
  readonly policy?: string | null
  /** Instead of `one`, `two` and `vault`. */
  readonly targets?: TestTargets
  /** Of the process, and of each worker, target and principal without limits of its own here. */
  readonly limits?: Partial<AdmissionLimits>
  readonly workerLimits?: Partial<AdmissionLimits>
  readonly targetLimits?: Partial<AdmissionLimits>
  readonly principalLimits?: Partial<AdmissionLimits>
  readonly agingSeconds?: number
  readonly runs?: Partial<RunSettings>
  readonly redactor?: Redactor
  readonly script?: Script
  readonly checkDisk?: () => Promise<void>
  readonly deadLetters?: z.input<typeof deadLetterSettingsSchema>
  readonly retry?: Partial<RetryLimits>
  /** What somebody was told is put here. */
  readonly notifications?: Notification[]
}

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly message: string
  readonly fields: unknown
}

export interface RuntimeFixture {
  readonly parts: RuntimeParts
  readonly deadLetters: DeadLetters
  readonly batches: Batches
  readonly ledger: ProbeLedger
  readonly clock: FakeClock
  readonly store: Store
  readonly log: readonly LogLine[]
  invoke: ReturnType<typeof createInvoker>['invoke']
  close: ReturnType<typeof createInvoker>['close']
  /** Calls an operation of the probe on target `one`, as Alice, without waiting for time to pass. */
  call(
    operation: string,
    input?: Record<string, unknown>,
    envelope?: EnvelopeInput,
    more?: Partial<InvokeRequest>,
  ): ReturnType<RuntimeFixture['invoke']>
  control(name: string, input: Record<string, unknown>, principal?: Principal): Promise<Record<string, unknown>>
  /** Moves the time on until the promise is settled, and gives what it is settled with. */
  run<T>(promise: Promise<T>, stepMs?: number): Promise<T>
}

const RUNS: RunSettings = {
  wait_seconds: 45,
  abort_grace_seconds: 5,
  output_head_bytes: 64 * 1024,
  output_tail_bytes: 64 * 1024,
  text_bytes: 16 * 1024,
  idempotency_days: 7,
  heal_seconds: 30,
}

const fixtures = new Set<RuntimeFixture>()

/** What a test leaves running would keep its process alive. */
afterEach(async () => {
  for (const fixture of fixtures) {
    fixtures.delete(fixture)
    const closing = fixture.close(0)
    await ('advance' in fixture.clock ? fixture.run(closing) : closing)
  }
})

/** The whole execution path in one process: probe worker, memory store, a clock that stands still until it is moved. */
export function createRuntimeFixture(options: FixtureOptions = {}): RuntimeFixture {
  const clock = options.clock ?? createFakeClock(Date.parse('2026-01-01T00:00:00Z'))
  const ledger = createLedger()
  const probe = scripted(createProbeWorker(ledger), options.script ?? (() => ({ value: null })))
  const log: LogLine[] = []
  const parts = partsOf(options, clock, options.worker?.(probe) ?? probe, log)
  const invoker = createInvoker(parts)
  const deadLetters = createDeadLetters(parts, invoker.invoke)
  const batches = createBatches(parts, invoker.invoke)

  const fixture: RuntimeFixture = {
    parts,
    deadLetters,
    batches,
    ledger,
    clock: clock as FakeClock,
    store: parts.store,
    log,
    ...invoker,
    call(operation, input = {}, envelope = {}, more = {}) {
      const targeted = parts.registry.operations.find(({ id }) => id === operation)?.spec.targeted !== false
      const target = targeted ? { target: 'one' } : {}
      return invoker.invoke({
        operation,
        input,
        envelope: { ...target, ...envelope },
        principal: ALICE,
        surface: 'embedded',
        ...more,
      })
    },
    control: (name, input, principal = ALICE) =>
      callControl({ ...parts, runtime: parts, deadLetters, batches }, { name, input, principal }),
    async run(promise, stepMs = 50) {
      let settled = false
      const done = () => {
        settled = true
      }
      promise.then(done, done)
      for (let step = 0; !settled && step < 100_000; step++) await (clock as FakeClock).advance(stepMs)
      return promise
    },
  }
  fixtures.add(fixture)
  return fixture
}

/** Operations whose acting a test writes: a write, an idempotent write, a read, and one that may destroy. */
function scripted(probe: AnyWorker, act: Script): AnyWorker {
  const input = z.object({ value: z.string().default('') })
  const common = {
    title: 'Scripted',
    summary: 'Does what the test says.',
    input,
    output: z.object({ value: z.unknown() }),
    errors: [],
    timeout: 30,
    examples: [{ title: 'x', input: {} }],
    run: async (context: OperationContext, given: z.output<typeof input>) =>
      (await act(context, given.value)) as { value: unknown },
  }
  const operations = [
    defineOperation({ ...common, id: 'probe.script', effect: 'write', idempotent: false }),
    defineOperation({ ...common, id: 'probe.repeat', effect: 'write', idempotent: true }),
    defineOperation({ ...common, id: 'probe.peek', effect: 'read', idempotent: true }),
    defineOperation({
      ...common,
      id: 'probe.wipe',
      effect: 'destroy',
      effectOf: ({ value }) => (value === 'dry' ? 'read' : 'destroy'),
      idempotent: false,
    }),
  ]
  return { ...probe, operations: [...probe.operations, ...operations] as OperationSpec[] }
}

function partsOf(options: FixtureOptions, clock: Clock, worker: AnyWorker, lines: LogLine[]): RuntimeParts {
  const registry = createRegistry([worker])
  const redactor = options.redactor ?? createRedactor()
  const { store, lease } = withLease(options.store ?? createMemoryStore(clock), clock)
  const environment = environmentOf(options, worker)
  const secrets = {
    async resolve(reference: unknown) {
      const secret = createSecret(String(reference), `value-of-${String(reference)}`)
      redactor.add(secret.reveal())
      return secret
    },
  }
  const log = collectingLog(lines)
  const base = { registry, environment, store, redactor, clock, log, secrets }
  const parts: RuntimeParts = {
    ...base,
    policy:
      options.policy === null ? parsePolicy('p.yaml', NOTHING) : parsePolicy('p.yaml', options.policy ?? ALLOW_ALL),
    admission: admissionOf(options, clock),
    bandwidth: createBandwidths({ clock, limitOf: environment.bandwidthLimit }),
    breakers: createCircuitBreakers({ ...base, limitsOf: environment.breakerLimits }),
    retry: createRetryPolicy(),
    notifier: { notify: (notification) => void options.notifications?.push(notification) },
    metrics: createRunMetrics(),
    instances: createWorkerInstances(base),
    live: createLiveRuns(),
    lease,
  }
  return options.change?.(parts) ?? parts
}

/** As the settings have them. */
const BREAKER = { window_seconds: 60, minimum_calls: 1, failure_ratio: 0.5, success_threshold: 1 }
const RETRY: RetryLimits = {
  base_ms: 200,
  cap_ms: 10_000,
  budget: { size: 500, retry_cost: 5, timeout_cost: 10, success_return: 1 },
}

/** Of every level that a test says nothing of. */
const LIMITS: AdmissionLimits = {
  max_concurrent: 100,
  queue_size: 100,
  max_queue_seconds: null,
  rate_per_second: null,
  rate_burst: 1,
  full: 'reject_new',
}

function admissionOf(options: FixtureOptions, clock: Clock): Admission {
  const { limits, workerLimits, targetLimits, principalLimits, agingSeconds = 10 } = options
  const own = { process: limits, worker: workerLimits, target: targetLimits, principal: principalLimits }
  return createAdmission({
    clock,
    limitsOf: ({ kind }) => ({ ...LIMITS, ...(own[kind] ?? limits) }),
    agingSeconds,
  })
}

const NOTHING = 'version: 1\nname: nothing\nrules: []\n'

function environmentOf(options: FixtureOptions, worker: AnyWorker): Environment {
  const settings = z.parse(worker.settings, {})
  return {
    folder: '/nowhere',
    runs: { ...RUNS, ...options.runs },
    workerSettings: () => settings,
    breakerLimits: () => ({ ...BREAKER, ...worker.breaker }),
    retryLimits: () => ({ ...RETRY, ...options.retry }),
    deadLetters: () => z.parse(deadLetterSettingsSchema, options.deadLetters ?? {}),
    bandwidthLimit: () => 0,
    resolveTarget(name) {
      const known = (options.targets ?? TARGETS)[name]
      if (known === undefined) throw mhvError('MHV_TARGET_UNKNOWN', `no target ${name}`)
      return { target: { name, groups: [], ...known, address: { name } }, settings }
    },
    targetNames: () => Object.keys(options.targets ?? TARGETS),
    checkDisk: options.checkDisk ?? (async () => undefined),
  }
}

function collectingLog(lines: LogLine[]): Logger {
  const write = (level: LogLine['level']) => (message: string, fields?: unknown) =>
    void lines.push({ level, message, fields })
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
}
