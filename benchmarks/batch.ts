/** Batches: what a target costs beside its bare command, and beside its run alone, and what one that waits holds. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import { type Area, type BenchOptions, interleavingOf } from './harness/area.ts'
import { withFolder } from './harness/folder.ts'
import { makeInstanceFolder, sshTargetOf } from './harness/instance-folder.ts'
import { interleave } from './harness/interleave.ts'
import { packageVersion } from './harness/machine.ts'
import { type Row, toRow } from './harness/row.ts'
import { type Side, startSide } from './harness/side.ts'
import { type BenchSshd, CIPHER, serverMissing, startServer } from './harness/sshd.ts'
import { median } from './harness/stats.ts'
import type { RawSsh2 } from './peers/raw-ssh2.ts'
import type { BatchLoad, BatchSide } from './sides/batch.ts'

const TARGETS = 1_000
const WAITING = 10_000
const PARALLEL = 10
const SIDE = new URL('./sides/batch.ts', import.meta.url)

/** An instance folder with so many names of one and the same target. */
function folderOf(folder: string, count: number, target: Record<string, unknown>, settings = {}): string {
  mkdirSync(folder, { recursive: true })
  makeInstanceFolder(folder, { settings, target })
  const names = Array.from({ length: count }, (_, index) => `t${index + 1}`)
  const targets = Object.fromEntries(names.map((name) => [name, { tier: 'dev', ...target }]))
  const text = stringify({ version: 1, targets }, { aliasDuplicateObjects: false })
  writeFileSync(join(folder, 'settings', 'inventory.yaml'), text)
  return folder
}

/** Lets our pool open what it wants, and gives the peer as many connections. */
async function sameConnections(side: Side<BatchSide>, peer: Side<RawSsh2>, sshd: BenchSshd, load: BatchLoad) {
  await side.call('oneByOne', load)
  const count = await side.call('connections', undefined)
  const { host, port, user, identityFile } = sshd
  await peer.call('open', { host, port, user, identityFile, cipher: CIPHER, count })
  return count
}

/**
 * Milliseconds for each target, beside the same commands over the bare client (the difference is what is ours: the path of
 * a run, its journal, and the batch), and beside the same runs asked for one by one (the difference is the batch).
 */
async function perChild(options: BenchOptions, folder: string): Promise<readonly Row[]> {
  const sshd = await startServer()
  const side = await startSide<BatchSide>(SIDE, options)
  const raw = await startSide<RawSsh2>(new URL('./peers/raw-ssh2.ts', import.meta.url), options)
  const count = options.quick ? 100 : TARGETS
  try {
    await side.call('open', { folder: folderOf(join(folder, 'ssh'), count, { ssh: sshTargetOf(sshd) }), probe: false })
    const load = { operation: 'ssh.execute', input: { command: 'true' }, count, parallel: PARALLEL }
    const connections = await sameConnections(side, raw, sshd, load)
    const commands = { command: 'true', expected: '', count, concurrency: PARALLEL }
    const ms = (seconds: number) => (seconds * 1_000) / count
    const values = await interleave(
      {
        ours: async () => ms(await side.call('batch', load)),
        oneByOne: async () => ms(await side.call('oneByOne', load)),
        raw: async () => ms((await raw.call('load', commands)).seconds),
      },
      interleavingOf(options, `${count} targets`, 1),
    )
    const common = {
      unit: 'ms',
      better: 'lower',
      ours: values.ours.map(median),
      goal: { of: 'difference', is: '<=', limit: 1 },
      settings: { ...load, connections, targets: 'names of one loopback sshd', ...sshd.settings },
    } as const
    const node = `Node ${process.version}`
    return [
      toRow(
        {
          ...common,
          name: `batch.child.${TARGETS}`,
          title: 'time for each of 1,000 targets of a batch, beside the same commands over raw ssh2',
          peer: { name: 'raw ssh2', version: packageVersion('ssh2'), values: values.raw.map(median) },
        },
        options,
      ),
      toRow(
        {
          ...common,
          name: `batch.child.${TARGETS}.runs`,
          title: 'time for each of 1,000 targets of a batch, beside the same runs asked for one by one',
          peer: { name: 'one by one', version: node, values: values.oneByOne.map(median) },
        },
        options,
      ),
    ]
  } finally {
    await raw.end()
    await side.end()
    await sshd.close()
  }
}

async function memory(options: BenchOptions, folder: string): Promise<Row> {
  let instances = 0
  const values = await interleave(
    {
      // A process of its own for each value: nothing is left of the round before.
      async ours() {
        instances += 1
        const side = await startSide<BatchSide>(SIDE, options)
        const own = join(folder, `memory-${instances}`)
        const settings = { probe: { pause_ms: 3_600_000 } }
        await side.call('open', { folder: folderOf(own, WAITING, { probe: {} }, settings), probe: true })
        const bytes = await side.call('memory', { count: WAITING, parallel: PARALLEL })
        await side.end()
        return bytes
      },
    },
    { ...interleavingOf(options, 'memory', 1), warmUp: 0 },
  )
  return toRow(
    {
      name: `batch.memory.${WAITING}`,
      title: 'heap that each of 10,000 targets holds that waits for its turn in a batch',
      unit: 'bytes',
      better: 'lower',
      ours: values.ours.flat(),
      goal: { of: 'ours', is: '<=', limit: 4_096 },
      settings: { targets: WAITING, parallel: PARALLEL, operation: 'probe.touch' },
    },
    options,
  )
}

export const batch: Area = {
  name: 'batch',
  summary: 'time of a batch for each of its targets, and memory of those that wait',
  missing: serverMissing,
  run: (options) =>
    withFolder('batch', async (folder) => [await memory(options, folder), ...(await perChild(options, folder))]),
}
