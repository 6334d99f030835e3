import type { Principal } from '../core/context.ts'
import { mhvError } from '../core/errors.ts'
import { needsTarget } from '../core/operation.ts'
import { didYouMean, quoted } from '../core/suggest.ts'
import type { Instance } from './instance.ts'
import type { SpawnedWorker } from './manager-types.ts'

type Asked = Pick<Instance, 'control' | 'registry'>

/** Most targets that a message names. */
const MOST_NAMED = 20

/**
 * What a worker type means: `ssh:web-1` is the worker `ssh` on `web-1`; `ssh` alone is on its only target. A worker
 * without any operation on targets is bound to none.
 */
export async function bindWorkerType(
  instance: Asked,
  principal: Principal,
  worker_type: string,
): Promise<{ readonly worker_type: string; readonly target: string | null }> {
  const colon = worker_type.indexOf(':')
  const name = colon < 0 ? worker_type : worker_type.slice(0, colon)
  const worker = instance.registry.worker(name)
  const targets = await targetsOf(instance, principal, name)
  const target = colon < 0 ? undefined : worker_type.slice(colon + 1)
  if (target !== undefined) {
    if (targets.includes(target)) return { worker_type: name, target }
    throw mhvError('MHV_TARGET_UNKNOWN', `${name} has no target ${quoted(target)}${didYouMean(target, targets)}`)
  }
  if (!worker.operations.some(needsTarget)) return { worker_type: name, target: null }
  const [only, ...others] = targets
  if (only !== undefined && others.length === 0) return { worker_type: name, target: only }
  if (only === undefined) throw mhvError('MHV_TARGET_REQUIRED', `the inventory has no target for ${name}`)
  const shown = targets.slice(0, MOST_NAMED).map((each) => `${name}:${each}`)
  const more = targets.length > MOST_NAMED ? ` and ${targets.length - MOST_NAMED} more` : ''
  throw mhvError('MHV_TARGET_REQUIRED', `${name} has several targets; spawn one of ${shown.join(', ')}${more}`)
}

async function targetsOf(instance: Asked, principal: Principal, name: string): Promise<readonly string[]> {
  const answer = await instance.control({ name: 'worker_list', input: {}, principal })
  const workers = answer.workers as readonly { readonly name: string; readonly targets: readonly string[] }[]
  return workers.find((worker) => worker.name === name)?.targets ?? []
}

/** `worker:target` of every open breaker that holds back a spawned worker. */
export async function openBreakers(
  instance: Asked,
  principal: Principal,
  workers: readonly SpawnedWorker[],
): Promise<readonly string[]> {
  if (workers.length === 0) return []
  const answer = await instance.control({ name: 'worker_health', input: {}, principal })
  const types = answer.workers as readonly { name: string; breakers: readonly { target: string }[] }[]
  const open = types.flatMap(({ name, breakers }) => breakers.map(({ target }) => `${name}:${target}`))
  return open.filter((each) => workers.some(({ worker_type, target }) => `${worker_type}:${target}` === each))
}
