/** Our side of `ssh.execute`: the program as it is shipped, called the way a program that embeds it does. */
import { createInstances, production } from '../../src/app.ts'
import type { Instance } from '../../src/runtime/instance.ts'
import { TARGET } from '../harness/instance-folder.ts'
import { closedLoop, type LoadResult } from '../harness/load.ts'
import { serveSide } from '../harness/side.ts'
import type { CommandLoad } from '../peers/raw-ssh2.ts'

let instance: Instance | undefined

function opened(): Instance {
  if (instance === undefined) throw new Error('not open')
  return instance
}

async function runOne(
  { command, expected }: Pick<CommandLoad, 'command' | 'expected'>,
  target = TARGET,
): Promise<void> {
  const { invoke, principal } = opened()
  const result = await invoke({
    operation: 'ssh.execute',
    input: { command },
    envelope: { target },
    principal,
    surface: 'embedded',
  })
  const { status, exit_code, output, error } = result
  if (status !== 'completed' || exit_code !== 0 || output !== expected) {
    throw new Error(`${status}, exit ${exit_code}: ${error ?? output}`)
  }
}

/** Connections that the worker holds now. */
async function connectionsOf({ control, principal }: Instance): Promise<number> {
  const health = await control({ name: 'worker_health', input: { worker: 'ssh' }, principal })
  const [ssh] = health.workers as { readonly connection: Readonly<Record<string, unknown>> }[]
  return Number(ssh?.connection.connections)
}

export interface SpreadLoad {
  readonly targets: readonly string[]
  readonly each: number
  readonly command: string
}

const methods = {
  async open({ folder }: { folder: string }): Promise<void> {
    // Without the variables of whoever runs the benchmark: they are settings, too.
    const instances = createInstances({ ...production(), env: {} })
    instance = await instances.open({ folder, doing: 'a benchmark' })
  },
  load(load: CommandLoad): Promise<LoadResult> {
    return closedLoop(load, () => runOne(load))
  },
  /** The same command on every target at once, `each` times; seconds until the last has ended. */
  async spread({ targets, each, command }: SpreadLoad): Promise<number> {
    const began = performance.now()
    const all = targets.flatMap((target) =>
      Array.from({ length: each }, () => runOne({ command, expected: '' }, target)),
    )
    await Promise.all(all)
    return (performance.now() - began) / 1000
  },
  /** Resident memory in MB, with everything collected that nobody needs. */
  async memory(): Promise<number> {
    globalThis.gc?.()
    return process.memoryUsage.rss() / 1e6
  },
  connections: () => connectionsOf(opened()),
}

export type InstanceSide = typeof methods

serveSide(methods, async () => {
  await instance?.close()
})
