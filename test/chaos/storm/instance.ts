/**
 * The instance that a storm goes over: the program as it is shipped, with a worker that acts on the far side beside its
 * own, on a process of its own. `instance.ts LIFE BROKEN COMMAND …`, where BROKEN is `none` or a mechanism to do without.
 */
import { createConfigCalls } from '../../../src/app/config-calls.ts'
import { createDemos } from '../../../src/app/mqtt-demo.ts'
import { type Composition, createInstances, production } from '../../../src/app.ts'
import { createRegistry } from '../../../src/core/registry.ts'
import { runCli } from '../../../src/surfaces/cli/run.ts'
import { BREAKABLE, partsWithout } from './broken.ts'
import type { workers as Workers } from './workers.ts'

const [life = '0', without = 'none', ...args] = process.argv.slice(2)
const broken = BREAKABLE.find((name) => name === without) ?? null
const workersModule = new URL(`./workers.ts?life=${Number(life)}`, import.meta.url)
const { workers } = (await import(workersModule.href)) as { readonly workers: typeof Workers }
const composition: Composition = {
  ...production(),
  ...partsWithout(broken),
  registry: createRegistry(workers),
  workersModule,
}
const app = {
  registry: composition.registry,
  instances: createInstances(composition),
  doctor: async () => [],
  config: createConfigCalls(composition),
  demos: createDemos(composition),
}
process.exitCode = await runCli(args, { version: '0.0.0', app: async () => app })
