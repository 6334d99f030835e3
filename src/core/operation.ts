import type { z } from 'zod'
import type { OperationContext } from './context.ts'
import type { ErrorCode } from './error-table.ts'

/** The most an operation may change. Ordered: each includes the ones before it. */
export const EFFECTS = ['read', 'write', 'destroy'] as const
export type Effect = (typeof EFFECTS)[number]

export const PRIORITIES = ['critical', 'normal', 'low'] as const
export type Priority = (typeof PRIORITIES)[number]

/** The call envelope: the same on every operation. No operation's own input may use these names. */
export const ENVELOPE_NAMES = [
  'target',
  'timeout',
  'idempotency_key',
  'priority',
  'wait',
  'reason',
  'plan_digest',
] as const

export interface OperationExample<I> {
  readonly title: string
  readonly target?: string
  readonly input: I
}

/** How the command line differs from the plain derivation (one option per field of the input). */
export interface CliHints<I> {
  /** The verb, where it is not that of the id: `start` for `start_interactive_session`. */
  readonly verb?: string
  /** The field that is the argument of a command that is about no target. */
  readonly argument?: keyof I & string
  /**
   * The field that takes the words after `--`: one word is taken as it is, several are quoted one by one, so that
   * they arrive as the arguments they are.
   */
  readonly rest?: keyof I & string
  /** The field that standard input fills when the option `--stdin` is given. */
  readonly stdin?: keyof I & string
  /**
   * What the command does with its own terminal beyond showing the result: `attach` joins it to a stream of
   * core/terminal-stream.ts, `replay` plays the recording that the data has.
   */
  readonly terminal?: 'attach' | 'replay'
}

/** What people see of a finished operation beside its data. */
export interface OperationSummary {
  readonly output: string
  /** Exit code of the thing that was run, where there is one. Never the worker's own failure. */
  readonly exit_code?: number | null
}

/** The failure that a recovery is about. */
export interface OperationFailure {
  readonly error_code: ErrorCode
  /** Redacted. */
  readonly message: string
  readonly attempts: number
}

export interface OperationSpec<
  I extends z.ZodObject = z.ZodObject,
  O extends z.ZodObject = z.ZodObject,
  // biome-ignore lint/suspicious/noExplicitAny: the context of an operation is the worker's own; the registry never looks into it
  X extends OperationContext<any, any, any> = OperationContext<any, any, any>,
> {
  /** `worker.verb`; the verb may have underscores. */
  readonly id: string
  readonly title: string
  /** One sentence: what it does. */
  readonly summary: string
  /** More, for help pages and tool descriptions. */
  readonly description?: string
  /** The most it may ever change. */
  readonly effect: Effect
  /** Narrows the effect by the input; may never widen it. */
  effectOf?(input: z.output<I>): Effect
  /**
   * Ids of other operations whose work a call with this input does as well: the policy is asked for each of them too, and
   * the caller has to be allowed all.
   */
  includes?(input: z.output<I>): readonly string[]
  /** Whether doing it twice is the same as doing it once. */
  readonly idempotent: boolean
  /** False for an operation that acts on no target, `optional` for one that may act without one. Default: true. */
  readonly targeted?: boolean | 'optional'
  readonly input: I
  readonly output: O
  /** Codes of its own that it may end with, beside those of the path every operation takes. */
  readonly errors: readonly ErrorCode[]
  /** Default deadline in seconds, or how it follows from the worker's settings for the target. */
  // biome-ignore lint/suspicious/noExplicitAny: the settings are the worker's own
  readonly timeout: number | ((settings: any) => number)
  /** Name of the MCP tool where it is not the id with underscores. */
  readonly mcpName?: string
  readonly cli?: CliHints<z.output<I>>
  readonly examples: readonly OperationExample<z.input<I>>[]
  run(context: X, input: z.output<I>): Promise<z.input<O>>
  /**
   * Takes a run up again whose process ended while it acted: looks what the attempt before has done and does the rest.
   * `context.attempt` is the number of the attempt that this is. Without it such a run ends as MHV_RUN_INTERRUPTED.
   *
   * It writes the output from its beginning again: what the journal has of it already is not written there twice.
   */
  resume?(context: X, input: z.output<I>): Promise<z.input<O>>
  /**
   * Whether a call with this input is one that `resume` can take up again; default: every call. Such a run is not
   * cancelled when Mahavishnu stops: its signal is aborted with MHV_SHUTTING_DOWN, it leaves the far side as it is, and the
   * next process takes it up.
   */
  resumes?(input: z.output<I>): boolean
  /**
   * Called once the end of such a run is in the journal, whatever it is: removes what was kept on the far side so that
   * it could be taken up. May not come where the process ends before. Its failure changes nothing.
   *
   * Comes also, without a `run` or `resume` before it in this process, for a run that was cut off and that nobody takes up:
   * what it has begun is ended then.
   */
  settle?(context: X, input: z.output<I>): Promise<void>
  /**
   * Reaches the same goal another way, where the recovery table says `fallback`. Called only when nothing was done yet
   * or the operation is idempotent; its data is the result of the run.
   */
  fallback?(context: X, input: z.output<I>, failure: OperationFailure): Promise<z.input<O>>
  /**
   * Takes back what `run` did, or may have done, where the recovery table says `rollback`. Resolves only when the target
   * is as it was before, whatever `run` had done by then and whatever of it may still be under way; throws otherwise.
   */
  compensate?(context: X, input: z.output<I>, failure: OperationFailure): Promise<void>
  /** Text and exit code of the data, for people. Default: the data as JSON. */
  summarize?(data: z.output<O>): OperationSummary
}

/** Whether a run with this input can be taken up again by another process. */
export function canResume(spec: OperationSpec, input: unknown): boolean {
  return spec.resume !== undefined && spec.resumes?.(input as never) !== false
}

/** Declares one operation. The identity function: it only gives the object its types. */
export function defineOperation<
  I extends z.ZodObject,
  O extends z.ZodObject,
  // biome-ignore lint/suspicious/noExplicitAny: see OperationSpec
  X extends OperationContext<any, any, any>,
>(spec: OperationSpec<I, O, X>): OperationSpec<I, O, X> {
  return spec
}

/** The smaller of the declared effect and another; what is no effect at all narrows nothing. */
export function narrower(declared: Effect, other: Effect): Effect {
  return EFFECTS.includes(other) && EFFECTS.indexOf(other) < EFFECTS.indexOf(declared) ? other : declared
}

/** Whether every call has to name a target. */
export function needsTarget({ targeted }: Pick<OperationSpec, 'targeted'>): boolean {
  return targeted === undefined || targeted === true
}

/** Whether a call may name a target. */
export function mayHaveTarget({ targeted }: Pick<OperationSpec, 'targeted'>): boolean {
  return targeted !== false
}

/** The target of an example, as it is shown: a word that stands for one where the example has none but needs it. */
export function exampleTarget(
  spec: Pick<OperationSpec, 'targeted'>,
  example: { readonly target?: string } | undefined,
): string | undefined {
  if (!mayHaveTarget(spec)) return undefined
  return example?.target ?? (needsTarget(spec) ? 'TARGET' : undefined)
}
