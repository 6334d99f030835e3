import { afterEach } from 'node:test'
import { z } from 'zod'
import type { Clock } from '../../src/core/clock.ts'
import type { Logger, OperationContext, Principal, Tier } from '../../src/core/context.ts'
import type { EnvelopeInput } from '../../src/core/envelope.ts'
import { mhvError } from '../../src/core/errors.ts'
import { defineOperation, type OperationSpec } from '../../src/core/operation.ts'
import { createRegistry } from '../../src/core/registry.ts'
import { createSecret } from '../../src/core/secret.ts'
import type { AnyWorker } from '../../src/core/worker.ts'
import { parsePolicy } from '../../src/governance/policy-file.ts'
import { createRedactor, type Redactor } from '../../src/governance/redaction.ts'
import { type AdmissionLimits, createAdmission } from '../../src/resilience/admission.ts'
import { createCircuitBreakers } from '../../src/resilience/circuit-breaker.ts'
import { callControl } from '../../src/runtime/call-control.ts'
import { createInvoker } from '../../src/runtime/invoke.ts'
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

const TARGETS: Record<string, { tier: Tier; tags: string[] }> = {
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
  readonly limits?: AdmissionLimits
  readonly workerLimits?: AdmissionLimits
  readonly runs?: Partial<RunSettings>
  readonly redactor?: Redactor
  readonly script?: Script
  readonly checkDisk?: () => Promise<void>
}

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly message: string
  readonly fields: unknown
}

export interface RuntimeFixture {
  readonly parts: RuntimeParts
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

  const fixture: RuntimeFixture = {
    parts,
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
    control: (name, input, principal = ALICE) => callControl({ ...parts, runtime: parts }, { name, input, principal }),
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
  const store = options.store ?? createMemoryStore(clock)
  const limits = options.limits ?? { max_concurrent: 100, queue_size: 100 }
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
    admission: createAdmission(limits, () => options.workerLimits ?? limits),
    breakers: createCircuitBreakers(clock),
    metrics: createRunMetrics(),
    instances: createWorkerInstances(base),
    live: createLiveRuns(),
  }
  return options.change?.(parts) ?? parts
}

const NOTHING = 'version: 1\nname: nothing\nrules: []\n'

function environmentOf(options: FixtureOptions, worker: AnyWorker): Environment {
  const settings = z.parse(worker.settings, {})
  return {
    folder: '/nowhere',
    runs: { ...RUNS, ...options.runs },
    workerSettings: () => settings,
    breakerLimits: () => worker.breaker,
    resolveTarget(name) {
      const known = TARGETS[name]
      if (known === undefined) throw mhvError('MHV_TARGET_UNKNOWN', `no target ${name}`)
      return { target: { name, ...known, groups: [], address: { name } }, settings }
    },
    targetNames: () => Object.keys(TARGETS),
    checkDisk: options.checkDisk ?? (async () => undefined),
  }
}

function collectingLog(lines: LogLine[]): Logger {
  const write = (level: LogLine['level']) => (message: string, fields?: unknown) =>
    void lines.push({ level, message, fields })
  return { debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error') }
}
