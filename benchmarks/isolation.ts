/** `ssh.execute` with the worker in a process of its own, beside the same with the worker in the main process. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Area, BenchOptions } from './harness/area.ts'
import { interleavingOf } from './harness/area.ts'
import { withFolder } from './harness/folder.ts'
import { makeInstanceFolder, sshTargetOf } from './harness/instance-folder.ts'
import { interleave, ratePerSecond } from './harness/interleave.ts'
import { packageVersion } from './harness/machine.ts'
import { type Row, toRow } from './harness/row.ts'
import { type Side, startSide } from './harness/side.ts'
import { type BenchSshd, serverMissing, startServer } from './harness/sshd.ts'
import { median } from './harness/stats.ts'
import type { InstanceSide } from './sides/instance.ts'

const COMMAND = { command: 'echo x', expected: 'x\n' }
const CONCURRENCY = 10
const CHANNELS_PER_CONNECTION = 8

interface Sides {
  readonly outside: Side<InstanceSide>
  readonly inside: Side<InstanceSide>
}

async function openSide(sshd: BenchSshd, folder: string, isolation: string): Promise<Side<InstanceSide>> {
  mkdirSync(folder)
  const ssh = { max_channels_per_connection: CHANNELS_PER_CONNECTION, isolation }
  makeInstanceFolder(folder, { settings: { ssh }, target: { ssh: sshTargetOf(sshd) } })
  const side = await startSide<InstanceSide>(new URL('./sides/instance.ts', import.meta.url))
  await side.call('open', { folder })
  return side
}

/** The pool makes connections as it is used: enough of them before anything is measured. */
async function warmUp(side: Side<InstanceSide>): Promise<void> {
  for (let turn = 0; turn < 5; turn++)
    await side.call('load', { ...COMMAND, count: 4 * CONCURRENCY, concurrency: CONCURRENCY })
}

const peer = { name: 'the same in the main process', version: packageVersion('ssh2') }

async function throughput(options: BenchOptions, { outside, inside }: Sides): Promise<Row> {
  const count = options.quick ? 100 : 300
  const load = { ...COMMAND, count, concurrency: CONCURRENCY }
  const values = await interleave(
    {
      ours: async () => (await outside.call('load', load)).seconds,
      peer: async () => (await inside.call('load', load)).seconds,
    },
    interleavingOf(options, `${CONCURRENCY} at once`, 3),
  )
  return toRow(
    {
      name: `isolation.execute.rate.${CONCURRENCY}`,
      title: `ssh.execute per second, ${CONCURRENCY} at once, with isolation: process`,
      unit: 'commands/s',
      better: 'higher',
      ours: ratePerSecond(values.ours, count),
      peer: { ...peer, values: ratePerSecond(values.peer, count) },
      goal: { of: 'ratio', is: '>=', limit: 0.8 },
      settings: { ...load, channels_per_connection: CHANNELS_PER_CONNECTION },
    },
    options,
  )
}

async function latency(options: BenchOptions, { outside, inside }: Sides): Promise<Row> {
  const load = { ...COMMAND, count: options.quick ? 30 : 50, concurrency: 1 }
  const values = await interleave(
    {
      ours: async () => (await outside.call('load', load)).p50,
      peer: async () => (await inside.call('load', load)).p50,
    },
    interleavingOf(options, 'one at a time', 5),
  )
  return toRow(
    {
      name: 'isolation.execute.p50.1',
      title: 'latency (p50) of one command after the other with isolation: process',
      unit: 'ms',
      better: 'lower',
      ours: values.ours.map(median),
      peer: { ...peer, values: values.peer.map(median) },
      settings: load,
    },
    options,
  )
}

export const isolation: Area = {
  name: 'isolation',
  summary: 'ssh.execute with its worker in a process of its own, beside the main process',
  missing: serverMissing,
  run: (options) =>
    withFolder('isolation', async (folder) => {
      const sshd = await startServer()
      const opened: Side<InstanceSide>[] = []
      try {
        const outside = await openSide(sshd, join(folder, 'process'), 'process')
        opened.push(outside)
        const inside = await openSide(sshd, join(folder, 'none'), 'none')
        opened.push(inside)
        for (const side of opened) await warmUp(side)
        const sides = { outside, inside }
        return [await latency(options, sides), await throughput(options, sides)]
      } finally {
        await Promise.all(opened.map((side) => side.end()))
        await sshd.close()
      }
    }),
}
