import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import { mhvError } from './errors.ts'
import { EFFECTS, ENVELOPE_NAMES, type OperationSpec } from './operation.ts'
import { startOrder } from './start-order.ts'
import { didYouMean, quoted } from './suggest.ts'
import type { AnyWorker, RecoveryAction } from './worker.ts'

export interface RegisteredOperation {
  readonly id: string
  readonly verb: string
  readonly worker: AnyWorker
  readonly spec: OperationSpec
}

/** All workers and operations of this program, found by name. Nothing else keeps a list of them. */
export interface Registry {
  readonly workers: readonly AnyWorker[]
  readonly operations: readonly RegisteredOperation[]
  worker(name: string): AnyWorker
  operation(id: string): RegisteredOperation
}

export interface RegistryOptions {
  /** The tests have parsed the examples of these workers: doing so again is a tenth of the start of a command. */
  readonly examplesAreKnown?: boolean
}

/** Checks the declarations and makes them findable. A wrong declaration is a defect, found at start. */
export function createRegistry(workers: readonly AnyWorker[], options: RegistryOptions = {}): Registry {
  const operations = workers.flatMap((worker) =>
    worker.operations.map((spec: OperationSpec) => checkedOperation(worker, spec, options)),
  )
  const odd = workers.find((worker) => !NAME.test(worker.name))
  if (odd !== undefined) throw new Error(`worker "${odd.name}" must be named like "cloud_run"`)
  refuseTwins(
    'worker',
    workers.map((worker) => worker.name),
  )
  refuseTwins(
    'operation',
    operations.map((operation) => operation.id),
  )
  startOrder(workers)
  for (const worker of workers) checkRecovery(worker)
  const workersByName = new Map(workers.map((worker) => [worker.name, worker]))
  const operationsById = new Map(operations.map((operation) => [operation.id, operation]))
  return {
    workers,
    operations,
    worker(name) {
      const found = workersByName.get(name)
      if (found) return found
      throw mhvError(
        'MHV_WORKER_UNKNOWN',
        `there is no worker ${quoted(name)}${didYouMean(name, [...workersByName.keys()])}`,
      )
    },
    operation(id) {
      const found = operationsById.get(id)
      if (found) return found
      throw mhvError(
        'MHV_OPERATION_UNKNOWN',
        `there is no operation ${quoted(id)}${didYouMean(id, [...operationsById.keys()])}`,
      )
    },
  }
}

const NAME = /^[a-z][a-z0-9_]*$/

function checkedOperation(worker: AnyWorker, spec: OperationSpec, options: RegistryOptions): RegisteredOperation {
  const [owner, verb, ...more] = spec.id.split('.')
  if (owner !== worker.name || !verb || more.length > 0 || !NAME.test(verb)) {
    throw new Error(`operation "${spec.id}" must be named "${worker.name}.verb"`)
  }
  const refuse = (why: string) => new Error(`operation "${spec.id}" ${why}`)
  const fields = Object.keys(spec.input.shape)
  const taken = fields.filter((name) => (ENVELOPE_NAMES as readonly string[]).includes(name))
  if (taken.length > 0) throw refuse(`uses names of the envelope: ${taken.join(', ')}`)
  if (!EFFECTS.includes(spec.effect)) throw refuse('has no known effect')
  if (typeof spec.timeout === 'number' && !(spec.timeout > 0)) throw refuse('has no time to run in')
  const hinted = [spec.cli?.rest, spec.cli?.stdin, spec.cli?.argument].filter((name) => name !== undefined)
  if (spec.cli?.argument !== undefined && spec.targeted !== false) throw refuse('has its target as its argument')
  const missing = hinted.find((name) => !fields.includes(name))
  if (missing !== undefined) throw refuse(`has a command line for "${missing}", which is no field of its input`)
  if (spec.examples.length === 0) throw refuse('has no example')
  if (options.examplesAreKnown !== true) {
    for (const example of spec.examples) checkExample(spec, example.input, refuse)
  }
  return { id: spec.id, verb, worker, spec }
}

/** Attempts are for strategies that make any: a number that nobody looks at would be believed. */
function checkRecovery({ name, recovery }: AnyWorker): void {
  for (const [key, action] of Object.entries({ ...recovery.categories, ...recovery.codes })) {
    if (action === undefined) continue
    const { strategy, max_attempts } = action as RecoveryAction
    const most = strategy === 'retry' || strategy === 'fallback' ? 100 : 1
    if (Number.isInteger(max_attempts) && max_attempts >= 1 && max_attempts <= most) continue
    throw new Error(`worker "${name}" has "${strategy}" with ${max_attempts} attempts for ${key}: from 1 to ${most}`)
  }
}

function checkExample(spec: OperationSpec, input: Record<string, unknown>, refuse: (why: string) => Error): void {
  const stranger = Object.keys(input).find((name) => !Object.hasOwn(spec.input.shape, name))
  if (stranger !== undefined) throw refuse(`has an example with "${stranger}", which is no field of its input`)
  const parsed = z.parse(spec.input, input)
  // The journal keeps the parsed input as JSON, and a run is done again from there.
  const again = z.safeParse(spec.input, JSON.parse(JSON.stringify(parsed)))
  if (!again.success || !isDeepStrictEqual(again.data, parsed))
    throw refuse('has an input that the journal would change')
}

function refuseTwins(kind: string, names: readonly string[]): void {
  const twin = names.find((name, index) => names.indexOf(name) !== index)
  if (twin !== undefined) throw new Error(`two of ${kind} "${twin}"`)
}
