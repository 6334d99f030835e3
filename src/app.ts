import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { admissionOf } from './app/admission-limits.ts'
import { environmentOf } from './app/environment.ts'
import { isolatedWorkers } from './app/isolated-workers.ts'
import { createNotifications, type Notifications } from './app/notifications.ts'
import { hasNoJournal, type InstanceSetting, instanceFolder, readSetting } from './app/setting.ts'
import { createSecretResolver } from './config/secrets.ts'
import { type Clock, systemClock } from './core/clock.ts'
import type { ConnectAttempt } from './core/context.ts'
import { entryPoint } from './core/entry-point.ts'
import { mhvError, systemCode, toMhvError } from './core/errors.ts'
import { createRegistry, type Registry } from './core/registry.ts'
import { loadPolicy } from './governance/policy-file.ts'
import { localPrincipal } from './governance/principals.ts'
import { createRedactor, type Redactor } from './governance/redaction.ts'
import { createBandwidths } from './resilience/bandwidth.ts'
import { type CircuitBreakers, createCircuitBreakers } from './resilience/circuit-breakers.ts'
import { createLoopLag, type LoopLag } from './resilience/loop-lag.ts'
import { createRetryPolicy, type RetryPolicy } from './resilience/retry.ts'
import { createBatches } from './runtime/batch.ts'
import { callControl } from './runtime/call-control.ts'
import type { ControlParts } from './runtime/control.ts'
import { startDeadLetterLoop } from './runtime/dead-letter-loop.ts'
import { createDeadLetters } from './runtime/dead-letters.ts'
import { followRun } from './runtime/follow.ts'
import { type CreateHealing, createHealing } from './runtime/healing.ts'
import type { Instance, InstanceOptions, Instances, OpenInstance, Readiness } from './runtime/instance.ts'
import { createInvoker } from './runtime/invoke.ts'
import type { IsolatedWorkers } from './runtime/isolate.ts'
import { withLease } from './runtime/leases.ts'
import { createWorkerInstances } from './runtime/lifecycle.ts'
import { createLiveRuns } from './runtime/live-runs.ts'
import type { RuntimeParts } from './runtime/runtime.ts'
import { type CreateScheduler, createScheduler } from './runtime/schedule.ts'
import { createServiceManager } from './runtime/service-manager.ts'
import { createStartup, type Startup, standingWorkers } from './runtime/startup.ts'
import { createVitals } from './runtime/vitals.ts'
import { lockInstance } from './store/lock.ts'
import { createMemoryStore } from './store/memory.ts'
import { openSqliteStore } from './store/sqlite.ts'
import type { RunRecord, Store } from './store/store.ts'
import { observeBatches } from './telemetry/batch-metrics.ts'
import { observeDeclared } from './telemetry/declared-metrics.ts'
import { createLogger } from './telemetry/log.ts'
import { createRunMetrics, observeBreakers, observeJournal } from './telemetry/metrics.ts'
import { observeDeadLetters } from './telemetry/resilience-metrics.ts'
import { observeSchedules } from './telemetry/schedule-metrics.ts'
import { type EndedRun, observeSsh } from './telemetry/ssh-metrics.ts'
import { observeTerminal } from './telemetry/terminal-metrics.ts'
import { observeWorkerProcesses } from './telemetry/worker-metrics.ts'
import { workers } from './workers/index.ts'

/** What the program is made of. Tests and benchmarks compose it from other parts; there is no other switch. */
export interface Composition {
  readonly registry: Registry
  /** Module that exports the same workers: a worker's own process finds it there. */
  readonly workersModule: URL
  readonly env: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  openStore(options: { readonly path: string; readonly readOnly: boolean }): Promise<Store>
  createRedactor(): Redactor
  createRetryPolicy(): RetryPolicy
  readonly createHealing: CreateHealing
  readonly createScheduler: CreateScheduler
}

/** Seconds that cancelled runs get to end in when the instance is closed. */
const CLOSE_SECONDS = 25
/** How long replays whose runs have ended get to be settled, in milliseconds; the next start settles the rest. */
const SETTLE_MS = 2_000

/** The program as it is shipped, or with other workers. */
export function production(registry: Registry = createRegistry(workers)): Composition {
  return {
    registry,
    workersModule: entryPoint(import.meta.url, './workers/index'),
    env: process.env,
    clock: systemClock,
    openStore: openSqliteStore,
    createRedactor,
    createRetryPolicy,
    createHealing,
    createScheduler,
  }
}

/** The composition root: the only place that knows everybody. */
export function createInstances(composition: Composition = production()): Instances {
  return {
    open: (options) => openInstance(composition, options),
    use: (options) => useInstance(composition, options),
    read: (options) => openReader(composition, options),
    look: async (options) => (await runningInstance(composition, options)) ?? openReader(composition, options),
  }
}

async function openInstance(composition: Composition, options: InstanceOptions): Promise<OpenInstance> {
  const { registry, clock, env } = composition
  await makeFolder(instanceFolder(composition, options.folder))
  const setting = await readSetting(composition, options)
  // What was opened is closed again in reverse order, also when a later step fails.
  await using undo = new AsyncDisposableStack()
  const lock = await lockInstance(setting.folder, options.doing)
  undo.defer(lock.release)
  await makeFolder(dirname(setting.journalFile))
  const metrics = createRunMetrics()
  const journal = await composition.openStore({ path: setting.journalFile, readOnly: false })
  undo.defer(journal.close)
  const pool = () => parts.instances.started('ssh')?.stats()
  const slos = registry.workers.find(({ name }) => name === 'ssh')?.slos
  const ssh = slos === undefined ? undefined : observeSsh(metrics.registry, pool, slos)
  const observed = measured(journal, observeJournal(metrics.registry), (run) => ssh?.ended(run))
  if (registry.workers.some(({ name }) => name === 'terminal')) {
    observeTerminal(metrics.registry, () => parts.instances.started('terminal')?.stats())
  }
  const { store, lease } = withLease(observed, clock)
  const common = commonParts(composition, setting)
  const isolated = isolatedWorkers(composition, setting, common.log)
  const policy = await loadPolicy(setting.policyFile)
  const onConnect = (worker: string, attempt: ConnectAttempt) => {
    if (worker === 'ssh') ssh?.connected(attempt)
  }
  const lag = createLoopLag(clock)
  undo.defer(lag.stop)
  const shared = { ...common, store, lease, policy, metrics, lag }
  const parts = runtimeParts({ ...composition, ...isolated }, setting, shared, onConnect)
  await parts.breakers.load()
  undo.defer(parts.breakers.flush)
  undo.defer(parts.instances.close)
  undo.defer(isolated.endStarting)
  undo.defer(parts.notifier.close)
  const invoker = createInvoker(parts)
  // Runs that were taken up again act already, whatever fails below.
  undo.defer(() => invoker.close(CLOSE_SECONDS * 1000))
  const healing = composition.createHealing(parts, invoker.resume)
  await healing.pass()
  await store.expireKeys(clock.now())
  const deadLetters = createDeadLetters(parts, invoker.invoke)
  const ofBatches = observeBatches(metrics.registry, () => batches.numbers())
  const batches = createBatches(parts, invoker.invoke, ofBatches)
  observeDeadLetters(metrics.registry, store.deadLetterStats)
  observeWorkerProcesses(metrics.registry, isolated.processes)
  observeDeclared(
    metrics.registry,
    registry.workers,
    async (worker) => (await parts.instances.started(worker)?.metrics?.()) ?? [],
    (worker, error) => common.log.warn('a worker could not tell its metrics', { worker, error }),
  )
  const schedules = setting.schedules.list
  const onOutcome = observeSchedules(
    metrics.registry,
    schedules.map(({ name }) => name),
  )
  const scheduler = composition.createScheduler({ ...parts, schedules, invoke: invoker.invoke, onOutcome })
  const { runs, startup } = setting.loaded.values
  const wanted = new Set([...startup.workers, ...standingWorkers(parts.registry, parts.environment)])
  const starting = createStartup({ ...parts, wanted: [...wanted] })
  const vitals = createVitals(store, parts.instances)
  const serviceManager = createServiceManager({ ...parts, env, vitals: vitals.check })
  await deadLetters.settleLeft()
  const letterLoop = startDeadLetterLoop(parts, deadLetters)
  parts.notifier.begin()
  healing.begin()
  const opened = undo.move()
  let closing = false
  return {
    ...instanceOf(registry, setting, {
      ...parts,
      runtime: parts,
      startup: starting,
      deadLetters,
      batches,
      schedules: { list: schedules, scheduler, invoke: invoker.invoke },
    }),
    invoke: invoker.invoke,
    metrics: () => parts.metrics.registry.metrics(),
    readiness: () => readinessOf(parts, starting, isolated, () => closing),
    begin() {
      starting.begin()
      // Only a process that stays goes on with what another one has begun.
      void batches.resumeLeft().catch((error: unknown) => parts.log.error('batches could not be resumed', { error }))
      scheduler.begin()
    },
    serviceManager,
    async close({ drain = false } = {}) {
      closing = true
      starting.stop()
      letterLoop.stop()
      healing.stop()
      batches.pause()
      const fired = scheduler.stop()
      await invoker.close(CLOSE_SECONDS * 1000, drain ? runs.drain_timeout * 1000 : 0)
      await fired
      await deadLetters.settled(SETTLE_MS)
      await batches.settled(SETTLE_MS)
      // Until here the service manager sees that it is alive: ending well takes its time.
      serviceManager.stop()
      vitals.stop()
      await opened.disposeAsync()
    },
  }
}

/** How long whoever has the folder may take from its lock to its socket, in milliseconds, and how often to look. */
const ANSWERING_MS = 2_000
const LOOK_MS = 50

/** The instance that runs on the folder, over its socket; else one of this process. */
async function useInstance(composition: Composition, options: InstanceOptions): Promise<Instance> {
  const running = await runningInstance(composition, options)
  if (running !== null) return running
  try {
    return await openInstance(composition, options)
  } catch (error) {
    if (!isStarting(error)) throw error
    // It took the lock a moment ago, and listens in a moment.
    const until = composition.clock.monotonic() + ANSWERING_MS
    while (composition.clock.monotonic() < until) {
      const started = await runningInstance(composition, options)
      if (started !== null) return started
      await composition.clock.sleep(LOOK_MS)
    }
    throw error
  }
}

/** Whether the lock is held by a process that listens on a socket sooner or later. */
function isStarting(error: unknown): boolean {
  const { code, details } = toMhvError(error)
  const holder = details?.holder as { readonly doing?: unknown } | null | undefined
  return code === 'MHV_INSTANCE_LOCKED' && holder?.doing === 'up'
}

async function runningInstance(composition: Composition, options: InstanceOptions): Promise<Instance | null> {
  const { registry } = composition
  const folder = instanceFolder(composition, options.folder)
  const { findSocket } = await import('./surfaces/http/socket.ts')
  // Most of the time there is none, and then the client need not be loaded.
  if ((await findSocket(folder)) === null) return null
  const { connectInstance } = await import('./surfaces/http/client.ts')
  const log = createLogger(options.terse === true ? 'error' : 'info', (value) => value)
  const instance = await connectInstance({ folder, registry, log, principal: localPrincipal() })
  if (instance === null || Object.keys(options.set ?? {}).length === 0) return instance
  await instance.close()
  throw mhvError('MHV_INSTANCE_LOCKED', `${folder} is served by a running instance, which has its own settings`, {
    remedy: 'Leave --set away, or stop the running instance and start it with that setting.',
  })
}

async function openReader(composition: Composition, options: InstanceOptions): Promise<Instance> {
  const { registry, clock } = composition
  const setting = await readSetting(composition, options)
  const store = await openToRead(composition, setting)
  const policy = await loadPolicy(setting.policyFile)
  const control: ControlParts = {
    ...commonParts(composition, setting),
    registry,
    clock,
    store,
    policy,
    live: createLiveRuns(),
    runtime: null,
    schedules: setting.schedules,
  }
  return {
    ...instanceOf(registry, setting, control),
    invoke: async () => {
      throw mhvError('MHV_INTERNAL', 'operations need an instance that is open')
    },
    metrics: async () => '',
    readiness: async () => ({ ready: false, reasons: ['only reads the journal'] }),
    close: () => store.close(),
  }
}

/** Where nothing was run yet there is nothing to read; a folder that is not there at all is refused by the store. */
async function openToRead({ openStore, clock }: Composition, setting: InstanceSetting): Promise<Store> {
  if (existsSync(setting.folder) && (await hasNoJournal(setting))) return createMemoryStore(clock)
  return openStore({ path: setting.journalFile, readOnly: true })
}

/** Looks whether a run could be taken now. */
async function readinessOf(
  { store, environment }: RuntimeParts,
  starting: Startup,
  isolated: IsolatedWorkers,
  closing: () => boolean,
): Promise<Readiness> {
  const reasons = starting.missing().map((worker) => `worker ${worker} is not up`)
  reasons.push(...isolated.down().map((worker) => `worker ${worker} is down (MHV_WORKER_DOWN)`))
  if (closing()) reasons.push('stopping')
  const looks = [store.check(), environment.checkDisk()]
  for (const look of await Promise.allSettled(looks)) {
    if (look.status === 'rejected') reasons.push(toMhvError(look.reason).code)
  }
  return { ready: reasons.length === 0, reasons }
}

function instanceOf(registry: Registry, setting: InstanceSetting, control: ControlParts) {
  return {
    registry,
    folder: setting.folder,
    log: control.log,
    principal: localPrincipal(),
    control: (request: Parameters<typeof callControl>[1]) => callControl(control, request),
    async *follow({ principal, ...request }: Parameters<Instance['follow']>[0]) {
      await callControl(control, { name: 'run_get', input: { run_id: request.run_id }, principal })
      yield* followRun(control, request)
    },
    targetNames: control.environment.targetNames,
    managerLimits: setting.loaded.values.manager,
    redact: control.redactor.deep,
  }
}

function commonParts(composition: Composition, setting: InstanceSetting) {
  const redactor = composition.createRedactor()
  return {
    redactor,
    log: createLogger(setting.logLevel, redactor.deep),
    environment: environmentOf(composition, setting),
  }
}

function runtimeParts(
  composition: Composition,
  setting: InstanceSetting,
  common: ReturnType<typeof commonParts> &
    Pick<RuntimeParts, 'store' | 'lease' | 'policy' | 'metrics'> & { readonly lag: LoopLag },
  onConnect: (worker: string, attempt: ConnectAttempt) => void,
): RuntimeParts & { readonly notifier: Notifications } {
  const { registry, clock, env } = composition
  const { loaded, folder } = setting
  const secrets = createSecretResolver({ folder, env, onResolved: (value) => common.redactor.add(value) })
  const base = { ...common, registry, clock, secrets }
  const admission = admissionOf(registry, setting, { clock, metrics: common.metrics, lag: common.lag })
  return {
    ...base,
    admission,
    breakers: breakersOf(composition, common),
    bandwidth: createBandwidths({ clock, limitOf: common.environment.bandwidthLimit }),
    retry: composition.createRetryPolicy(),
    notifier: createNotifications(base, loaded.values.notifications),
    instances: createWorkerInstances({ ...base, onConnect }),
    live: createLiveRuns(),
  }
}

function breakersOf(
  { registry, clock }: Composition,
  { store, log, environment, metrics }: Pick<RuntimeParts, 'store' | 'log' | 'environment' | 'metrics'>,
): CircuitBreakers {
  const names = registry.workers.map(({ name }) => name)
  const changed = observeBreakers(metrics.registry, names, () => breakers.list())
  const breakers = createCircuitBreakers({
    clock,
    log,
    store,
    limitsOf: environment.breakerLimits,
    onChange: (worker, _target, { to }) => changed(worker, to),
  })
  return breakers
}

/** The journal, with the writes that calls wait for measured, and the ends of runs told. */
function measured(store: Store, measure: ReturnType<typeof observeJournal>, ended: (run: EndedRun) => void): Store {
  function tell(run: RunRecord | null): void {
    if (run === null || run.end === null) return
    const { operation, started_at, end } = run
    const seconds = started_at === null ? null : Math.max(0, end.finished_at - started_at) / 1000
    const { error_code, exit_code, data } = end
    ended({ operation, error_code, exit_code, seconds, input: () => run.input, data })
  }
  return {
    ...store,
    async createRun(run) {
      const outcome = await measure(store.createRun(run))
      if (outcome.kind === 'created') tell(outcome.run)
      return outcome
    },
    async changeRun(change) {
      const run = await measure(store.changeRun(change))
      tell(run)
      return run
    },
  }
}

async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 })
  } catch (error) {
    throw mhvError('MHV_INSTANCE_INVALID', `${folder} cannot be made (${systemCode(error) ?? 'error'})`, {
      cause: error,
    })
  }
}
