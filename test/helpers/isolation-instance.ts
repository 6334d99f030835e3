import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { type Composition, createInstances, production } from '../../src/app.ts'
import { createRegistry } from '../../src/core/registry.ts'
import type { WorkerResult } from '../../src/core/result.ts'
import type { AnyWorker } from '../../src/core/worker.ts'
import type { OpenInstance } from '../../src/runtime/instance.ts'

/** An instance whose workers are those of a module, with target `one` for all of them. */
export interface IsolationInstance extends AsyncDisposable {
  readonly instance: OpenInstance
  readonly folder: string
  readonly composition: Composition
  call(operation: string, input?: object, envelope?: object): Promise<WorkerResult>
  /** What the worker's health says of its connection. */
  health(worker: string): Promise<Record<string, number | string | boolean>>
}

export async function isolationInstance(
  settings: Readonly<Record<string, unknown>>,
  options: Partial<Composition> & {
    readonly module?: URL
    /** Blocks of the target, by worker; an empty one where there is none. */
    readonly blocks?: Readonly<Record<string, object>>
  } = {},
): Promise<IsolationInstance> {
  const { module = new URL('../fixtures/isolation/workers.ts', import.meta.url), blocks: given = {}, ...more } = options
  const { workers } = (await import(module.href)) as { readonly workers: readonly AnyWorker[] }
  const folder = await mkdtemp(join(tmpdir(), 'mhv-isolation-'))
  await mkdir(join(folder, 'settings'))
  const blocks = Object.fromEntries(workers.map(({ name }) => [name, given[name] ?? {}]))
  const files = {
    mahavishnu: { version: 1, log: { level: 'error' }, ...settings },
    inventory: { version: 1, targets: { one: { tier: 'dev', ...blocks } } },
    policy: { version: 1, name: 'all', rules: [{ id: 'all', decision: 'allow' }] },
  }
  for (const [name, value] of Object.entries(files))
    await writeFile(join(folder, 'settings', `${name}.yaml`), stringify(value))
  const composition: Composition = {
    ...production(),
    registry: createRegistry(workers),
    workersModule: module,
    env: { SECRET: 'hush-hush-hush' },
    ...more,
  }
  const instance = await createInstances(composition)
    .open({ folder, doing: 'test' })
    .catch(async (error: unknown) => {
      await rm(folder, { recursive: true, force: true })
      throw error
    })
  return {
    instance,
    folder,
    composition,
    call(operation, input = {}, envelope = {}) {
      const targeted = instance.registry.operation(operation).spec.targeted !== false
      return instance.invoke({
        operation,
        input,
        envelope: { ...(targeted ? { target: 'one' } : {}), ...envelope },
        principal: instance.principal,
        surface: 'embedded',
      })
    },
    async health(worker) {
      const answer = await instance.control({
        name: 'worker_health',
        input: { worker },
        principal: instance.principal,
      } as never)
      return (
        (answer as { workers: { connection: Record<string, number | string | boolean> }[] }).workers[0]?.connection ??
        {}
      )
    },
    async [Symbol.asyncDispose]() {
      await instance.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}
