import type { z } from 'zod'
import type { WorkerContext, WorkerTarget } from './context.ts'
import type { ErrorCategory, ErrorCode } from './error-table.ts'
import type { MetricSample, MetricSpec } from './metric.ts'
import type { OperationSpec } from './operation.ts'
import type { PortName, Ports } from './ports.ts'

/** What a worker holds between calls: pools, clients, sessions. */
export interface WorkerConnection {
  /** Facts about itself for `worker_health`: numbers and short texts. */
  stats(): Readonly<Record<string, number | string | boolean>>
  /** Fulfilled while it is able to work; a service manager's watchdog asks. Without it, being there is enough. */
  heartbeat?(): Promise<void>
  /**
   * Fulfilled when it can take a call, which may then have to come at once; asked before every attempt. Rejects with an
   * error from before any effect. Without it, being there is enough.
   */
  ready?(): Promise<void>
  /** Values of the metrics that the worker declares, as they are now. */
  metrics?(): readonly MetricSample[] | Promise<readonly MetricSample[]>
  /** Ends everything it holds; called once. */
  close(): Promise<void>
}

export interface PingTarget<S = unknown, T = unknown> {
  readonly name: string
  readonly address: T
  /** The worker's settings with the target's overrides. */
  readonly settings: S
}

export interface PingResult {
  readonly healthy: boolean
  readonly message: string
}

/** A service level objective. `target` is a ratio, or a percentile's bound in seconds. */
export interface Slo {
  readonly name: string
  readonly description: string
  readonly kind: 'ratio' | 'latency'
  readonly target: number
  readonly percentile?: number
  readonly window_days: number
}

export const RECOVERY_STRATEGIES = ['retry', 'fallback', 'skip', 'rollback', 'notify'] as const
export type RecoveryStrategy = (typeof RECOVERY_STRATEGIES)[number]

/**
 * What to do after an error.
 *
 * - `retry`: another attempt, if that is safe.
 * - `fallback`: the same while attempts are left, then the operation's own `fallback`, if that is safe.
 * - `skip`: nothing; it is no dead letter either.
 * - `rollback`: the operation's own `compensate` takes back what was done or may have been; never another attempt.
 * - `notify`: somebody is told.
 */
export interface RecoveryAction {
  readonly strategy: RecoveryStrategy
  /** Attempts in all; 1 = never again. More than 1 only for `retry` and `fallback`. */
  readonly max_attempts: number
  /** Somebody is told as well when the run ends with this error. */
  readonly notify?: true
}

/** By error code, then by category. A retry also needs the error's phase or the operation's idempotence to allow it. */
export interface RecoveryTable {
  readonly codes: Readonly<Partial<Record<ErrorCode, RecoveryAction>>>
  readonly categories: Readonly<Partial<Record<ErrorCategory, RecoveryAction>>>
}

/** A worker's own defaults of its circuit breakers; the settings have one for what is left out. */
export interface BreakerDefaults {
  /** Failures within the window that open it. */
  readonly failure_threshold: number
  /** Seconds it stays open. */
  readonly recovery_timeout: number
  /** Calls let through at once to see whether the target is back. */
  readonly half_open_max_calls: number
  /** Seconds for which an outcome counts. */
  readonly window_seconds?: number
  /** Calls with an outcome within the window before it may open. */
  readonly minimum_calls?: number
  /** Smallest part of the calls within the window that has to have failed, 0 to 1. */
  readonly failure_ratio?: number
  /** Successes of the calls let through that close it. */
  readonly success_threshold?: number
}

export interface WorkerSpec<
  S extends z.ZodObject = z.ZodObject,
  T extends z.ZodObject = z.ZodObject,
  C extends WorkerConnection = WorkerConnection,
> {
  readonly name: string
  readonly title: string
  /** Two or three sentences: what it operates and what it needs. */
  readonly description: string
  /** Its subtree of the settings. Every field has a default and a description. */
  readonly settings: S
  /** Its block of a target in the inventory. */
  readonly target: T
  /**
   * A port through which it reaches targets of the worker that provides it: those need no block of their own for this
   * worker, only one to override its settings.
   */
  readonly reaches?: PortName
  /**
   * Completes the block of a target by those of other targets that it names, when the inventory is read: the worker
   * itself never sees another target. `lookup` has the block of a target as it was written, with its defaults. Throws an
   * MhvError where that cannot be.
   */
  linkTarget?(address: z.output<T>, lookup: (name: string) => z.output<T> | undefined): z.output<T>
  readonly breaker: BreakerDefaults
  /** Variables of our environment that it reads; in a process of its own it has these and those that every program gets. */
  readonly environment?: readonly string[]
  /** Names of workers that must be up before this one starts, and that stop after it. */
  readonly requires?: readonly string[]
  /** Made on first use, once per instance of the worker. Import drivers in here, not at the top of the file. */
  connect(context: WorkerContext<z.output<S>>): Promise<C>
  /** Looks whether a target answers, without changing anything. */
  ping?(connection: C, target: PingTarget<z.output<S>, z.output<T>>, signal: AbortSignal): Promise<PingResult>
  /**
   * Whether it has work without being called: such a worker is started by `up` at once, and again, with a growing pause,
   * for as long as its start fails. Asked once at start, with its settings and its targets of the inventory.
   */
  standing?(settings: z.output<S>, targets: readonly WorkerTarget<z.output<S>, z.output<T>>[]): boolean
  /** What its connection measures, beside what is measured of every worker. */
  readonly metrics?: readonly MetricSpec[]
  readonly slos: readonly Slo[]
  readonly recovery: RecoveryTable
  /** Core ports it provides, each made from the connection. */
  readonly provides?: { readonly [P in PortName]?: (connection: C) => Ports[P] }
  // biome-ignore lint/suspicious/noExplicitAny: operations differ in their schemas; the registry treats them alike
  readonly operations: readonly OperationSpec<any, any, any>[]
}

// biome-ignore lint/suspicious/noExplicitAny: a worker with its own types erased, as registry and runtime see it
export type AnyWorker = WorkerSpec<any, any, any>

/** Declares a worker. The identity function: it only gives the object its types. */
export function defineWorker<S extends z.ZodObject, T extends z.ZodObject, C extends WorkerConnection>(
  spec: WorkerSpec<S, T, C>,
): WorkerSpec<S, T, C> {
  return spec
}
