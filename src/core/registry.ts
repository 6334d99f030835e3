import { z } from 'zod'
import { mhvError } from './errors.ts'
import { EFFECTS, ENVELOPE_NAMES, type OperationSpec } from './operation.ts'
import { didYouMean } from './suggest.ts'
import type { AnyWorker } from './worker.ts'

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

/** Checks the declarations and makes them findable. A wrong declaration is a defect, found at start. */
export function createRegistry(workers: readonly AnyWorker[]): Registry {
  const operations = workers.flatMap((worker) =>
    worker.operations.map((spec: OperationSpec) => checkedOperation(worker, spec)),
  )
  refuseTwins(
    'worker',
    workers.map((worker) => worker.name),
  )
  refuseTwins(
    'operation',
    operations.map((operation) => operation.id),
  )
  const workersByName = new Map(workers.map((worker) => [worker.name, worker]))
  const operationsById = new Map(operations.map((operation) => [operation.id, operation]))
  return {
    workers,
    operations,
    worker(name) {
      const found = workersByName.get(name)
      if (found) return found
      throw mhvError('MHV_WORKER_UNKNOWN', `there is no worker "${name}"${didYouMean(name, [...workersByName.keys()])}`)
    },
    operation(id) {
      const found = operationsById.get(id)
      if (found) return found
      throw mhvError(
        'MHV_OPERATION_UNKNOWN',
        `there is no operation "${id}"${didYouMean(id, [...operationsById.keys()])}`,
      )
    },
  }
}

function checkedOperation(worker: AnyWorker, spec: OperationSpec): RegisteredOperation {
  const [owner, verb, ...more] = spec.id.split('.')
  if (owner !== worker.name || !verb || more.length > 0 || !/^[a-z][a-z0-9_]*$/.test(verb)) {
    throw new Error(`operation "${spec.id}" must be named "${worker.name}.verb"`)
  }
  const taken = Object.keys(spec.input.shape).filter((name) => (ENVELOPE_NAMES as readonly string[]).includes(name))
  if (taken.length > 0) throw new Error(`operation "${spec.id}" uses names of the envelope: ${taken.join(', ')}`)
  if (!EFFECTS.includes(spec.effect)) throw new Error(`operation "${spec.id}" has no known effect`)
  if (spec.examples.length === 0) throw new Error(`operation "${spec.id}" has no example`)
  for (const example of spec.examples) z.parse(spec.input, example.input)
  return { id: spec.id, verb, worker, spec }
}

function refuseTwins(kind: string, names: readonly string[]): void {
  const twin = names.find((name, index) => names.indexOf(name) !== index)
  if (twin !== undefined) throw new Error(`two of ${kind} "${twin}"`)
}
