import type { OperationContext } from '../../src/core/context.ts'
import { mhvError } from '../../src/core/errors.ts'
import type { RunRecord } from '../../src/store/store.ts'
import { createRuntimeFixture, type FixtureOptions, type RuntimeFixture, type TestTargets } from './runtime-parts.ts'

/** A fleet of targets and batches over them, on the runtime of the unit tests. */

export interface Answer {
  readonly ended: boolean
  readonly batch: Record<string, unknown> & { readonly batch_id: string; readonly state: string }
  readonly groups: readonly { readonly count: number; readonly status: string; readonly targets: readonly string[] }[]
  readonly events?: readonly { readonly type: string; readonly data: Record<string, unknown> }[]
}

interface Act {
  readonly target: string
  /** Runs that acted when this one began, itself included. */
  readonly active: number
}

export interface BatchFixture extends RuntimeFixture {
  readonly acts: Act[]
  ask(name: string, input: Record<string, unknown>): Promise<Answer>
}

export function names(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `t${String(index + 1).padStart(4, '0')}`)
}

export function fleet(count: number): Record<string, TestTargets[string]> {
  return Object.fromEntries(names(count).map((name) => [name, { tier: 'dev', tags: [] }]))
}

/** `act` is given the target; every act takes 100 ms. */
export function createFixture(
  targets: TestTargets,
  act: (target: string, context: OperationContext) => unknown = () => ({ value: null }),
  options: FixtureOptions = {},
): BatchFixture {
  const acts: Act[] = []
  let active = 0
  const fixture = createRuntimeFixture({
    limits: { max_concurrent: 500, queue_size: 500 },
    workerLimits: { max_concurrent: 500, queue_size: 500 },
    principalLimits: { max_concurrent: 500, queue_size: 500 },
    ...options,
    targets,
    script: async (context) => {
      const target = context.target?.name ?? ''
      active += 1
      acts.push({ target, active })
      try {
        await context.clock.sleep(100, context.signal)
        return act(target, context)
      } finally {
        active -= 1
      }
    },
  })
  return Object.assign(fixture, {
    acts,
    ask: async (name: string, input: Record<string, unknown>) =>
      (await fixture.run(fixture.control(name, input))) as unknown as Answer,
  })
}

export const fails = () => {
  throw mhvError('MHV_EXEC_FAILED', 'no')
}

export async function childrenOf({ store }: RuntimeFixture, parent: string): Promise<readonly RunRecord[]> {
  return store.listRuns({ parent, limit: 1_000 })
}
