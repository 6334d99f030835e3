import { z } from 'zod'
import type { Clock } from '../core/clock.ts'
import type { Logger, Principal } from '../core/context.ts'
import type { ErrorCode } from '../core/error-table.ts'
import type { Effect } from '../core/operation.ts'
import type { Registry } from '../core/registry.ts'
import type { Policy } from '../governance/policy.ts'
import type { Redactor } from '../governance/redaction.ts'
import type { Store } from '../store/store.ts'
import type { Batches } from './batch.ts'
import { BATCH_CALLS } from './batch-calls.ts'
import { breakerForce, breakerList } from './breaker-calls.ts'
import { DEAD_LETTER_CALLS } from './dead-letter-calls.ts'
import type { DeadLetters } from './dead-letters.ts'
import { control } from './define-control.ts'
import type { LiveRuns } from './live-runs.ts'
import { RUN_CALLS } from './run-calls.ts'
import type { Environment, RuntimeParts } from './runtime.ts'
import { SCHEDULE_CALLS, type ScheduleParts } from './schedule-calls.ts'
import type { Startup } from './startup.ts'
import { listWorkers, workerHealth, workerHealthSchema, workerListSchema } from './worker-calls.ts'

/**
 * What a control call sees. `runtime` is null in a process that opened the journal read-only because it only looks, or
 * because another one holds the instance.
 */
export interface ControlParts {
  readonly registry: Registry
  readonly environment: Environment
  readonly policy: Policy
  readonly redactor: Redactor
  readonly log: Logger
  readonly store: Store
  readonly clock: Clock
  readonly live: LiveRuns
  readonly runtime: RuntimeParts | null
  /** With a running instance only. */
  readonly deadLetters?: DeadLetters | undefined
  /** With a running instance only. */
  readonly batches?: Batches | undefined
  readonly schedules?: ScheduleParts | undefined
  /** With a running instance only. */
  readonly startup?: Pick<Startup, 'failed'> | undefined
}

/** A call about runs and workers, beside the operations: derived to every surface from one table. */
export interface ControlCall<I extends z.ZodObject = z.ZodObject, O extends z.ZodObject = z.ZodObject> {
  /** `noun_verb`; the MCP tool. */
  readonly name: string
  /** Words of the command line: the noun is plural there. */
  readonly cli: readonly [noun: string, verb: string]
  /** One word beside those, for what is asked for in a hurry; the same command. */
  readonly shortcut?: string
  readonly title: string
  readonly summary: string
  readonly effect: Effect
  /** Narrows the effect by the input, for whoever is to confirm it. */
  effectOf?(registry: Registry, input: z.output<I>): Effect
  /** The same, where not the input says what is done but the answer to another call, one that only reads. */
  readonly effectFrom?: {
    readonly call: string
    input(input: z.output<I>): Readonly<Record<string, unknown>>
    effectOf(registry: Registry, answer: Readonly<Record<string, unknown>>): Effect
  }
  /** It acts only through `invoke`, which asks the policy for every run by itself; the call alone is asked for as a read. */
  readonly authorisedEach?: true
  /** Whether it needs a running instance rather than the journal alone. */
  readonly needsRuntime: boolean
  /** Where a client sees a bounded number of MCP tools, it has none of its own, but is found and called like an operation. */
  readonly onDemand?: true
  readonly input: I
  readonly output: O
  /** Field that the command line takes as its argument. */
  readonly argument?: string
  /** Where an answer is one of many pages: the field of the input that goes on with a field of the answer, if not null. */
  readonly page?: { readonly input: keyof z.output<I> & string; readonly output: keyof z.output<O> & string }
  readonly example: z.input<I>
  /** Codes of its own, beside those that every call may end with. Default: MHV_RUN_UNKNOWN where it names a run. */
  readonly errors?: readonly ErrorCode[]
  /** Worker and target that it is about, where it names them: a rule about the target counts then. */
  about?(input: z.output<I>): { readonly worker: string; readonly target: string }
  run(parts: ControlParts, input: z.output<I>, principal: Principal, signal: AbortSignal): Promise<z.input<O>>
}

const workerList = control({
  name: 'worker_list',
  cli: ['workers', 'list'],
  title: 'List workers',
  summary: 'Lists the workers, their operations and the targets they can act on.',
  effect: 'read',
  needsRuntime: false,
  input: z.object({}),
  output: workerListSchema,
  example: {},
  run: async (parts) => listWorkers(parts),
})

const workerHealthCall = control({
  name: 'worker_health',
  cli: ['workers', 'health'],
  title: 'Health of workers',
  summary: 'Shows how the workers are: slots, queue, open breakers, connections; with a target, whether it answers.',
  effect: 'read',
  needsRuntime: true,
  input: z.object({
    worker: z.string().optional().describe('only this worker'),
    ping: z.string().optional().describe('name of a target to look at now'),
  }),
  output: workerHealthSchema,
  argument: 'worker',
  example: { worker: 'ssh' },
  run: (parts, input, principal, signal) => workerHealth(parts, input, principal, signal),
})

/** Every control call, in the order in which they are shown. */
export const CONTROL_CALLS: readonly ControlCall[] = [
  ...RUN_CALLS,
  workerList,
  workerHealthCall,
  breakerList,
  breakerForce,
  ...DEAD_LETTER_CALLS,
  ...BATCH_CALLS,
  ...SCHEDULE_CALLS,
]
