/**
 * The instance that a storm goes over: the program as it is shipped, with a worker that acts on the far side beside its
 * own, on a process of its own. `instance.ts LIFE BROKEN COMMAND …`, where BROKEN is `none` or a mechanism to do without.
 */
import { createConfigCalls } from '../../../src/app/config-calls.ts'
import { type Composition, createInstances, production } from '../../../src/app.ts'
import { createRegistry } from '../../../src/core/registry.ts'
import { runCli } from '../../../src/surfaces/cli/run.ts'
import { workers } from '../../../src/workers/index.ts'
import { BREAKABLE, partsWithout } from './broken.ts'
import { createFarWorker } from './far-worker.ts'

const [life = '0', without = 'none', ...args] = process.argv.slice(2)
const broken = BREAKABLE.find((name) => name === without) ?? null
const composition: Composition = {
  ...production(),
  ...partsWithout(broken),
  registry: createRegistry([...workers, createFarWorker(Number(life))]),
}
const app = {
  registry: composition.registry,
  instances: createInstances(composition),
  doctor: async () => [],
  config: createConfigCalls(composition),
}
process.exitCode = await runCli(args, { version: '0.0.0', app: async () => app })
