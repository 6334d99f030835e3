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

async function runOne({ command, expected }: CommandLoad): Promise<void> {
  const { invoke, principal } = opened()
  const result = await invoke({
    operation: 'ssh.execute',
    input: { command },
    envelope: { target: TARGET },
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

const methods = {
  async open({ folder }: { folder: string }): Promise<void> {
    // Without the variables of whoever runs the benchmark: they are settings, too.
    const instances = createInstances({ ...production(), env: {} })
    instance = await instances.open({ folder, doing: 'a benchmark' })
  },
  load(load: CommandLoad): Promise<LoadResult> {
    return closedLoop(load, () => runOne(load))
  },
  connections: () => connectionsOf(opened()),
}

export type InstanceSide = typeof methods

serveSide(methods, async () => {
  await instance?.close()
})
