/** What the connections of `ssh.execute` cost: many hosts at once, and the memory of many that are open. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { BenchOptions } from './harness/area.ts'
import { makeInstanceFolder, sshTargetOf } from './harness/instance-folder.ts'
import { type Row, toRow } from './harness/row.ts'
import { type Side, startSide } from './harness/side.ts'
import { ADDRESSES, type BenchSshd } from './harness/sshd.ts'
import type { InstanceSide } from './sides/instance.ts'

const NAMES = ADDRESSES.map((_, number) => `host-${number}`)

interface Setting {
  readonly name: string
  readonly ssh: Readonly<Record<string, number>>
}

const SPREAD: Setting = { name: 'spread', ssh: {} }
/** One channel on each, so that a hundred commands at once make a hundred connections. */
const MANY: Setting = {
  name: 'many',
  ssh: { max_connections: 101, max_connections_per_host: 10, max_channels_per_connection: 1 },
}

function folderFor({ name, ssh }: Setting, sshd: BenchSshd, folder: string): string {
  const instance = join(folder, `pool-${name}`)
  mkdirSync(instance)
  const target = sshTargetOf(sshd)
  const alias = `[${sshd.host}]:${sshd.port}`
  const more = ADDRESSES.map((host, number) => [NAMES[number], { ssh: { ...target, host, host_key_alias: alias } }])
  makeInstanceFolder(instance, { settings: { ssh }, target: { ssh: target }, more: Object.fromEntries(more) })
  return instance
}

/** Each round has a process of its own, which has run one command on another host: what is loaded once is loaded. */
async function fresh<T>(instance: string, measure: (side: Side<InstanceSide>) => Promise<T>): Promise<T> {
  const side = await startSide<InstanceSide>(new URL('./sides/instance.ts', import.meta.url), {
    nodeArguments: ['--expose-gc'],
  })
  try {
    await side.call('open', { folder: instance })
    await side.call('load', { command: 'echo x', expected: 'x\n', count: 10, concurrency: 1 })
    return await measure(side)
  } finally {
    await side.end()
  }
}

async function rounds(options: BenchOptions, what: string, measure: () => Promise<number>): Promise<number[]> {
  const values: number[] = []
  for (let round = 0; round < (options.quick ? 1 : options.rounds); round++) {
    options.say(`  ${what}: round ${round + 1}`)
    values.push(await measure())
  }
  return values
}

export async function poolRows(options: BenchOptions, sshd: BenchSshd, folder: string): Promise<readonly Row[]> {
  const [spread, many] = [folderFor(SPREAD, sshd, folder), folderFor(MANY, sshd, folder)]
  const load = { targets: NAMES, each: 10, command: 'sleep 1' }
  const seconds = await rounds(options, 'ten hosts', () => fresh(spread, (side) => side.call('spread', load)))
  const growth = await rounds(options, 'a hundred connections', () =>
    fresh(many, async (side) => {
      const before = await side.call('memory', undefined)
      // Long enough for all of them to be made before the first is free again.
      await side.call('spread', { ...load, command: 'sleep 5' })
      const open = await side.call('connections', undefined)
      if (open < 100) throw new Error(`${open} connections are open, not a hundred`)
      return (await side.call('memory', undefined)) - before
    }),
  )
  return [
    toRow(
      {
        name: 'ssh.pool.spread.100',
        title: '100 times `sleep 1` at once, on 10 hosts to which there is no connection yet',
        unit: 's',
        better: 'lower',
        ours: seconds,
        goal: { of: 'ours', is: '<=', limit: 3 },
        settings: { ...sshd.settings, hosts: NAMES.length, commands_per_host: load.each, command: load.command },
      },
      options,
    ),
    toRow(
      {
        name: 'ssh.pool.memory.100',
        title: 'resident memory that 100 open connections add, after garbage collection',
        unit: 'MB',
        better: 'lower',
        ours: growth,
        goal: { of: 'ours', is: '<=', limit: 40 },
        settings: { ...sshd.settings, hosts: NAMES.length, connections: 100, ...MANY.ssh },
      },
      options,
    ),
  ]
}
