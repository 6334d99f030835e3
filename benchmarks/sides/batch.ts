/** Our side of the `batch` area: a batch over many targets, and the same runs asked for one by one. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { createInstances, production } from '../../src/app.ts'
import { createRegistry } from '../../src/core/registry.ts'
import type { Instance } from '../../src/runtime/instance.ts'
import { createProbeWorker } from '../../src/testing/probe-worker.ts'
import { closedLoop } from '../harness/load.ts'
import { pause } from '../harness/process.ts'
import { serveSide } from '../harness/side.ts'

let instance: Instance | undefined
/** Rounds one by one that are over: each has keys of its own. */
let rounds = 0

function opened(): Instance {
  if (instance === undefined) throw new Error('not open')
  return instance
}

interface Shown {
  readonly batch: { readonly batch_id: string; readonly state: string; readonly done: number; readonly failed: number }
  readonly ended: boolean
}

export interface BatchLoad {
  readonly operation: string
  readonly input: Readonly<Record<string, unknown>>
  readonly count: number
  readonly parallel: number
}

async function ask(name: string, input: Record<string, unknown>): Promise<Shown> {
  const { control, principal } = opened()
  return (await control({ name, input, principal })) as unknown as Shown
}

/** Seconds from the call to the end of the last run. */
async function batch({ operation, input, count, parallel }: BatchLoad): Promise<number> {
  const began = performance.now()
  let shown = await ask('batch_run', { operation, input, select: '*', parallel, seconds: 0 })
  const { batch_id } = shown.batch
  while (!shown.ended) shown = await ask('batch_get', { batch_id, seconds: 45, brief: true })
  const seconds = (performance.now() - began) / 1_000
  const { state, done, failed } = shown.batch
  if (state !== 'completed' || done !== count || failed > 0) throw new Error(`${state}: ${done} done, ${failed} failed`)
  return seconds
}

/** The same runs, each asked for by itself under a key of its own; seconds. */
async function oneByOne({ operation, input, count, parallel }: BatchLoad): Promise<number> {
  const { invoke, principal, targetNames } = opened()
  const names = targetNames()
  const { seconds } = await closedLoop({ count, concurrency: parallel }, async (index) => {
    const target = names[index] as string
    const envelope = { target, idempotency_key: `${rounds}:${target}` }
    const { status, error } = await invoke({ operation, input, envelope, principal, surface: 'embedded' })
    if (status !== 'completed') throw new Error(`${status}: ${error}`)
  })
  rounds += 1
  return seconds
}

/** Connections that the pool has opened by now. */
async function connections(): Promise<number> {
  const { control, principal } = opened()
  const health = await control({ name: 'worker_health', input: { worker: 'ssh' }, principal })
  const [ssh] = health.workers as { readonly connection: Readonly<Record<string, unknown>> }[]
  return Number(ssh?.connection.connections)
}

async function heapUsed(): Promise<number> {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  for (let round = 0; round < 5; round++) {
    collect()
    await pause(100)
  }
  return process.memoryUsage().heapUsed
}

/** Bytes of heap that each target holds that waits for its turn in a batch. */
async function memory({ count, parallel }: { count: number; parallel: number }): Promise<number> {
  const before = await heapUsed()
  const { batch } = await ask('batch_run', {
    operation: 'probe.touch',
    select: '*',
    parallel,
    timeout: 3_600,
    seconds: 0,
  })
  await pause(500)
  const bytes = ((await heapUsed()) - before) / (count - parallel)
  await ask('batch_stop', { batch_id: batch.batch_id, cancel: true })
  return bytes
}

const methods = {
  async open({ folder, probe }: { folder: string; probe: boolean }): Promise<void> {
    const registry = probe ? { registry: createRegistry([createProbeWorker()]) } : {}
    instance = await createInstances({ ...production(), ...registry, env: {} }).open({ folder, doing: 'a benchmark' })
  },
  batch,
  oneByOne,
  connections,
  memory,
}

export type BatchSide = typeof methods

serveSide(methods, async () => {
  await instance?.close()
})
