import type { Clock } from './clock.ts'
import type { ErrorCode } from './error-table.ts'
import type { Masker } from './masker.ts'
import type { Effect } from './operation.ts'
import type { PortName, Ports } from './ports.ts'
import type { NewRecord, RecordLimits, RecordQuery, RecordStats, StoredRecord } from './records.ts'
import type { Secret } from './secret.ts'

/** Who asks: a person, an agent, a schedule or a service. `id` is what policies and the journal name. */
export interface Principal {
  readonly id: string
  readonly kind: 'user' | 'agent' | 'schedule' | 'service'
}

export const TIERS = ['dev', 'staging', 'prod'] as const
export type Tier = (typeof TIERS)[number]

/** A target of the inventory, resolved for one worker. */
export interface ResolvedTarget<T = unknown> {
  readonly name: string
  readonly tier: Tier
  readonly tags: readonly string[]
  readonly groups: readonly string[]
  /** The worker's own block: where and how to connect. */
  readonly address: T
}

/** How far a run is. `total` is absent where nobody knows it. */
export interface Progress {
  readonly progress: number
  readonly total?: number
  /** What is counted, where it is more than steps. */
  readonly unit?: 'bytes'
  readonly message?: string
}

/** A line of the log: facts in `fields`, never a secret, never a value from a target without need. */
export interface Logger {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void
  info(message: string, fields?: Readonly<Record<string, unknown>>): void
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void
  error(message: string, fields?: Readonly<Record<string, unknown>>): void
}

export interface SecretResolver {
  /** Reads the secret of a reference now; from then on its value is masked in everything that is written. */
  resolve(reference: SecretReference): Promise<Secret>
}

/** `env:NAME`, `file:PATH`, `exec:PROGRAM ARG…`, or `{ exec: [PROGRAM, ARG…] }`. */
export type SecretReference = string | { readonly exec: readonly string[] }

/** Changes of a worker's state that are made together, or not at all. What is set and deleted at once is set. */
export interface StateChanges {
  readonly set?: readonly (readonly [key: string, value: unknown])[]
  readonly delete?: readonly string[]
}

/** The worker's own durable key-value, in the journal. Values are JSON. */
export interface WorkerState {
  get(key: string): Promise<unknown>
  set(key: string, value: unknown): Promise<void>
  delete(key: string): Promise<void>
  /** All of it in one transaction: after a crash it is there whole, or not at all. Changes keep the order of their calls. */
  apply(changes: StateChanges): Promise<void>
  /** Entries whose key begins with the prefix, by key. */
  list(prefix: string): Promise<readonly { readonly key: string; readonly value: unknown }[]>
}

/** The worker's own append-only records, in the journal, by streams that it names. Payloads and meta are redacted. */
export interface WorkerRecords {
  /** On stable storage when it resolves; all of them, or none. */
  append(stream: string, records: readonly NewRecord[]): Promise<void>
  query(query: RecordQuery): Promise<readonly StoredRecord[]>
  /** Removes what is beyond the limits, in bounded steps; how many records went. */
  retain(stream: string, limits: RecordLimits): Promise<number>
  stats(stream: string): Promise<RecordStats>
}

export const OUTPUT_STREAMS = ['stdout', 'stderr'] as const
export type OutputStream = (typeof OUTPUT_STREAMS)[number]

/** What was kept of one stream of a run. */
export interface CollectedOutput {
  /** Redacted text, head and tail, with a line that counts what is missing between them. */
  readonly text: string
  /** Bytes that came, all told. */
  readonly bytes: number
  /** Bytes that are not in `text` nor in the journal. */
  readonly dropped_bytes: number
  /** False where bytes were not UTF-8 and were replaced by U+FFFD in `text`; the journal has them as they came. */
  readonly utf8: boolean
}

/**
 * Where a run's output goes: redacted by value, bounded (head and tail kept, the middle counted), journaled as it
 * comes. Awaiting `write` is the backpressure.
 */
export interface OutputSink {
  write(stream: OutputStream, bytes: Uint8Array): Promise<void>
  /** Ends the stream and tells what was kept of it. */
  collect(stream: OutputStream): Promise<CollectedOutput>
}

/** A target, and the worker's settings with its overrides. */
export interface WorkerTarget<S = unknown, T = unknown> {
  readonly target: ResolvedTarget<T>
  readonly settings: S
}

/** What the transfers of a worker may send and receive, counted together over all its runs. */
export interface Bandwidth {
  /** Bytes per second; 0 for no limit. */
  readonly limit: number
  /**
   * Resolves when this many bytes may be sent or received: to be awaited before each piece of a transfer, best of at most
   * 64 KiB. First come, first served. Costs next to nothing where there is no limit.
   *
   * Rejects with the reason of the signal once that is aborted, and with a RangeError for what is no number of bytes.
   */
  take(bytes: number, signal: AbortSignal): Promise<void>
}

/** A target with the worker's settings and the target's overrides. */
export interface WorkerTarget<S = unknown, T = unknown> {
  readonly target: ResolvedTarget<T>
  readonly settings: S
}

/** What a worker has for as long as it lives. */
export interface WorkerContext<S = unknown> {
  /** Which instance of the worker this is. */
  readonly worker_id: string
  readonly settings: S
  /** Folder of the instance, for files of the worker's own. */
  readonly folder: string
  readonly clock: Clock
  readonly log: Logger
  readonly secrets: SecretResolver
  readonly state: WorkerState
  readonly records: WorkerRecords
  /** The targets of the inventory with a block for this worker, each with its settings. */
  targets(): Promise<readonly WorkerTarget[]>
  readonly masker: Masker
  /**
   * A target of the inventory as an operation of this worker would get it, for ports, whose callers know its name only.
   * Throws MHV_TARGET_UNKNOWN or MHV_TARGET_UNSUPPORTED.
   */
  target(name: string): Promise<WorkerTarget<S>>
  /** To be told of every connection that the worker tried to make, for the metrics. */
  readonly onConnect?: (attempt: ConnectAttempt) => void
  need<P extends PortName>(port: P): Promise<Ports[P]>
}

/** One try to make a connection. */
export interface ConnectAttempt {
  /** From its beginning until it was ready, or had failed. */
  readonly seconds: number
  /** Why it failed; null when it was made. */
  readonly error_code: ErrorCode | null
}

/** What one attempt of an operation gets. */
export interface OperationContext<C = unknown, S = unknown, T = unknown> {
  readonly run_id: string
  /** 1 for the first. */
  readonly attempt: number
  readonly principal: Principal
  /** The most this call may change. */
  readonly effect: Effect
  /** Null for an operation without a target. */
  readonly target: ResolvedTarget<T>
  /** What the worker's `connect` returned. */
  readonly connection: C
  /** The worker's settings with the target's overrides, one generation for the whole run. */
  readonly settings: S
  /** Aborted at the deadline or by a cancellation; `reason` is the MhvError. End the far side, then throw. */
  readonly signal: AbortSignal
  /** Milliseconds since the epoch. */
  readonly deadline: number
  readonly clock: Clock
  readonly log: Logger
  readonly secrets: SecretResolver
  readonly state: WorkerState
  readonly records: WorkerRecords
  readonly output: OutputSink
  readonly bandwidth: Bandwidth
  progress(progress: Progress): Promise<void>
  need<P extends PortName>(port: P): Promise<Ports[P]>
}
