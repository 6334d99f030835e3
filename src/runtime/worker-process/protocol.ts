import type {
  CollectedOutput,
  ConnectAttempt,
  OperationContext,
  OutputStream,
  Progress,
  SecretReference,
  WorkerTarget,
} from '../../core/context.ts'
import type { OperationFailure } from '../../core/operation.ts'
import type { PortName } from '../../core/ports.ts'
import type { PingResult, PingTarget } from '../../core/worker.ts'

/** What the main process and the process of a worker ask of each other. Everything is asynchronous and cloneable. */

/** How a worker begins in its own process. */
export interface WorkerStart {
  /** URL of the module that exports `workers`. */
  readonly module: string
  readonly worker: string
  readonly worker_id: string
  readonly settings: unknown
  readonly folder: string
}

export const ACTS = ['run', 'resume', 'fallback', 'compensate', 'settle'] as const
/** Which function of an operation acts. */
export type Act = (typeof ACTS)[number]

/** The facts of an attempt; what acts on the main process goes by `handle`. */
export type ActFacts = Pick<
  OperationContext,
  'run_id' | 'attempt' | 'principal' | 'effect' | 'target' | 'settings' | 'deadline'
> & { readonly bandwidth_limit: number }

export interface ActRequest {
  /** The attempt, for its output and progress. */
  readonly handle: number
  readonly operation: string
  readonly act: Act
  readonly input: unknown
  readonly failure?: OperationFailure
  readonly facts: ActFacts
}

export type WorkerStats = Readonly<Record<string, number | string | boolean>>

/** What the process of a worker answers. */
export interface ChildMethods {
  /** Resolves when the worker's `connect` has. */
  connect(start: WorkerStart): Promise<void>
  act(request: ActRequest, signal: AbortSignal): Promise<unknown>
  ping(target: PingTarget, signal: AbortSignal): Promise<PingResult>
  /** That it answers is the heartbeat; what the worker tells about itself comes with it. */
  look(): Promise<WorkerStats>
  /** Calls a method of a port that the worker provides. */
  port(port: PortName, method: string, args: readonly unknown[]): Promise<unknown>
  close(): Promise<void>
}

export const LOG_METHODS = ['debug', 'info', 'warn', 'error'] as const
export type LogMethod = (typeof LOG_METHODS)[number]

/** What the main process answers. */
export interface ParentMethods {
  /** Resolves when there is room for more: the answers are the credit of the writer. */
  write(handle: number, stream: OutputStream, bytes: Uint8Array): Promise<void>
  collect(handle: number, stream: OutputStream): Promise<CollectedOutput>
  progress(handle: number, progress: Progress): void
  /** Resolves when these bytes may go; asked only where there is a limit. */
  takeBandwidth(handle: number, bytes: number, signal: AbortSignal): Promise<void>
  log(level: LogMethod, message: string, fields: unknown): void
  /** The value is masked in everything that is written before it is handed over. */
  resolve(reference: SecretReference): Promise<{ readonly reference: string; readonly value: string }>
  stateGet(key: string): Promise<unknown>
  stateSet(key: string, value: unknown): Promise<void>
  stateDelete(key: string): Promise<void>
  stateList(prefix: string): Promise<readonly { readonly key: string; readonly value: unknown }[]>
  target(name: string): Promise<WorkerTarget>
  connected(attempt: ConnectAttempt): void
  /** Rejects with MHV_PORT_MISSING where no worker provides the port. */
  needed(port: PortName): Promise<void>
  /** Calls a method of a port of another worker. */
  need(port: PortName, method: string, args: readonly unknown[]): Promise<unknown>
}
