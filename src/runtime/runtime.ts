import type { DeadLetterSettings } from '../config/dead-letter-schema.ts'
import type { Clock } from '../core/clock.ts'
import type { Logger, Principal, Progress, ResolvedTarget, SecretResolver } from '../core/context.ts'
import type { EnvelopeInput } from '../core/envelope.ts'
import type { Notifier } from '../core/notifier.ts'
import type { Registry } from '../core/registry.ts'
import type { WorkerResult } from '../core/result.ts'
import type { Policy } from '../governance/policy.ts'
import type { Redactor } from '../governance/redaction.ts'
import type { Admission } from '../resilience/admission.ts'
import type { Bandwidths } from '../resilience/bandwidth.ts'
import type { BreakerLimits } from '../resilience/circuit-breaker.ts'
import type { CircuitBreakers } from '../resilience/circuit-breakers.ts'
import type { RetryLimits, RetryPolicy } from '../resilience/retry.ts'
import type { Store } from '../store/store.ts'
import type { RunMetrics } from '../telemetry/metrics.ts'
import type { Lease } from './leases.ts'
import type { WorkerInstances } from './lifecycle.ts'
import type { LiveRuns } from './live-runs.ts'

/** A call as a surface hands it in. `input` and `envelope` are whatever the caller sent; they are parsed here. */
export interface InvokeRequest {
  readonly operation: string
  readonly input: unknown
  readonly envelope?: EnvelopeInput
  readonly principal: Principal
  /** `mcp`, `cli`, `http` or `embedded`. */
  readonly surface: string
  /** Aborted when the caller goes away: the run is cancelled, unless somebody else waits for it. */
  readonly signal?: AbortSignal
  /** Aborted when the caller goes away from a run that goes on without it: the run tells of it. */
  readonly left?: AbortSignal
  readonly onProgress?: (progress: Progress) => void
  /** Id of the batch that it is one target of. */
  readonly parent?: string
  /** Where it replays a dead letter: the run that failed, and the id that the claim has given to this one. */
  readonly replay?: { readonly of: string; readonly run_id: string }
}

/**
 * The only way to an operation. Resolves with the finished result or, when that takes longer than the wait, with the
 * run as it stands (status `pending` or `running`: the handle). Rejects with an MhvError when there is no run: the call
 * was malformed, not allowed, or there was no room.
 */
export type Invoke = (request: InvokeRequest) => Promise<WorkerResult>

/** Settings as the runtime asks for them: one immutable generation. Seconds and bytes. */
export interface RunSettings {
  readonly wait_seconds: number
  readonly abort_grace_seconds: number
  readonly output_head_bytes: number
  readonly output_tail_bytes: number
  readonly text_bytes: number
  readonly idempotency_days: number
  readonly heal_seconds: number
}

export interface TargetOfWorker {
  readonly target: ResolvedTarget
  /** The worker's settings with the target's overrides. */
  readonly settings: unknown
}

/** What settings and inventory tell the runtime. */
export interface Environment {
  readonly folder: string
  readonly runs: RunSettings
  workerSettings(worker: string): unknown
  breakerLimits(worker: string): BreakerLimits
  retryLimits(worker: string): RetryLimits
  /** Bytes per second, 0 for no limit; with a target, what the worker's settings are for that. */
  bandwidthLimit(worker: string, target: string | null): number
  /** Of one worker, with what it has otherwise. */
  deadLetters(worker: string): DeadLetterSettings
  /** Throws MHV_TARGET_UNKNOWN or MHV_TARGET_UNSUPPORTED. */
  resolveTarget(name: string, worker: string): TargetOfWorker
  /** Targets of the inventory that this worker can act on; all of them without a worker. */
  targetNames(worker?: string): readonly string[]
  /** Throws MHV_DISK_LOW when the journal's disk has no room for another run. */
  checkDisk(): Promise<void>
}

/** Everything the execution path is made of; put together once, in app.ts. */
export interface RuntimeParts {
  readonly registry: Registry
  readonly environment: Environment
  readonly store: Store
  readonly policy: Policy
  readonly admission: Admission
  readonly bandwidth: Bandwidths
  readonly breakers: CircuitBreakers
  readonly retry: RetryPolicy
  readonly notifier: Notifier
  readonly redactor: Redactor
  readonly secrets: SecretResolver
  readonly metrics: RunMetrics
  readonly clock: Clock
  readonly log: Logger
  readonly instances: WorkerInstances
  readonly live: LiveRuns
  readonly lease: Lease
}
