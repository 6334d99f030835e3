/** `ssh.execute` on its whole path, beside what it is made of and beside the client that everybody has. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { nativeCrypto } from '../src/workers/ssh/ssh2-library.ts'
import { type Area, type BenchOptions, interleavingOf } from './harness/area.ts'
import { withFolder } from './harness/folder.ts'
import { journalOf, journalPragmas, makeInstanceFolder, sshTargetOf } from './harness/instance-folder.ts'
import { interleave, ratePerSecond } from './harness/interleave.ts'
import type { LoadResult } from './harness/load.ts'
import { machineFacts, packageVersion } from './harness/machine.ts'
import { type Row, type RowSpec, toRow } from './harness/row.ts'
import { type Side, startSide } from './harness/side.ts'
import { type BenchSshd, CIPHER, serverMissing, startServer } from './harness/sshd.ts'
import { median } from './harness/stats.ts'
import { type Asyncssh, asyncsshMissing, startAsyncssh } from './peers/asyncssh.ts'
import { startOpensshControl } from './peers/openssh-control.ts'
import type { CommandLoad, RawSsh2 } from './peers/raw-ssh2.ts'
import type { InstanceSide } from './sides/instance.ts'
import { hostsRows } from './ssh-hosts.ts'
import { poolRows } from './ssh-pool.ts'

const COMMAND = { command: 'echo x', expected: 'x\n' }
const RAW = { name: 'raw ssh2', version: packageVersion('ssh2') }
const DURABLE = { name: 'raw ssh2 and two bare commits', version: `${RAW.version}, SQLite ${process.versions.sqlite}` }

interface Sides {
  readonly ours: Side<InstanceSide>
  readonly peer: Side<RawSsh2>
  /** Undefined where it is not installed. */
  readonly asyncssh: Asyncssh | undefined
  readonly sshd: BenchSshd
  readonly folder: string
  /** Folder of the instance. */
  readonly instance: string
  /** Settings of its connection that our journal reports. */
  readonly pragmas: Readonly<Record<string, string | number>>
  /** Commands that ours has run, for the comparison with its journal. */
  ran: number
}

/** Runs commands on our side; milliseconds or seconds as `LoadResult` has them. */
async function runOurs(sides: Sides, count: number, concurrency: number) {
  sides.ran += count
  return sides.ours.call('load', { ...COMMAND, count, concurrency })
}

/** The default of the setting; our pool opens no connection while there is room on those it has. */
const CHANNELS_PER_CONNECTION = 8

/**
 * Lets our pool open what it wants for so many commands at once, and gives the peer as many connections. From then on
 * neither side opens another one.
 */
async function sameConnections(sides: Sides, concurrency: number): Promise<number> {
  let connections = 0
  do {
    await runOurs(sides, 4 * concurrency, concurrency)
    connections = await sides.ours.call('connections', undefined)
  } while (connections * CHANNELS_PER_CONNECTION < concurrency)
  const { host, port, user, identityFile } = sides.sshd
  await sides.peer.call('open', { host, port, user, identityFile, cipher: CIPHER, count: connections })
  await sides.asyncssh?.open(connections)
  return connections
}

async function assertSameStill({ ours }: Sides, connections: number): Promise<void> {
  const now = await ours.call('connections', undefined)
  if (now !== connections) throw new Error(`our side had ${connections} connections and now has ${now}`)
}

function settingsOf({ sshd, pragmas }: Sides, connections: number, load: Partial<CommandLoad>) {
  const native = nativeCrypto === 'used'
  return {
    ...load,
    connections,
    channels_per_connection: CHANNELS_PER_CONNECTION,
    native,
    ...sshd.settings,
    journal: { store: 'SQLite', ...pragmas },
    policy: 'agent-safe',
  }
}

/** What one turn of many commands gave. */
type Turn = Pick<LoadResult, 'seconds' | 'cpu'>
type Turns = readonly (readonly Turn[])[]

const rates = (rounds: Turns, perTurn: number) =>
  ratePerSecond(
    rounds.map((turns) => turns.map(({ seconds }) => seconds)),
    perTurn,
  )
const cpuTimes = (rounds: Turns) => rounds.map((turns) => median(turns.map(({ cpu }) => cpu)))

/** One after the other they take milliseconds each; many at once need more of them to be compared. */
const countOf = ({ quick }: BenchOptions, concurrency: number) => (quick || concurrency === 1 ? 100 : 300)

/** Commands per second, and the processor time that each takes on our side of the connection. */
async function throughput(options: BenchOptions, sides: Sides, concurrency: number): Promise<readonly Row[]> {
  const connections = await sameConnections(sides, concurrency)
  const count = countOf(options, concurrency)
  const load = { ...COMMAND, count, concurrency }
  const { asyncssh } = sides
  const values = await interleave<'ours' | 'peer' | 'durable' | 'asyncssh', Turn>(
    {
      ours: () => runOurs(sides, count, concurrency),
      peer: () => sides.peer.call('load', load),
      durable: () => sides.peer.call('durable', load),
      asyncssh: async () => asyncssh?.load(load) ?? NO_TURN,
    },
    interleavingOf(options, `${concurrency} at once`, 3),
  )
  await assertSameStill(sides, connections)
  const settings = settingsOf(sides, connections, { command: COMMAND.command, concurrency, count })
  const rate = {
    name: `ssh.execute.rate.${concurrency}`,
    title: `commands per second, ${concurrency} at once, through the whole path, beside raw ssh2`,
    unit: 'commands/s',
    better: 'higher',
    ours: rates(values.ours, count),
    settings,
  } as const
  return [
    toRow(
      { ...rate, peer: { ...RAW, values: rates(values.peer, count) }, goal: { of: 'ratio', is: '>=', limit: 0.9 } },
      options,
    ),
    toRow(
      { ...rate, name: `${rate.name}.durable`, peer: { ...DURABLE, values: rates(values.durable, count) } },
      options,
    ),
    ...besideAsyncssh(options, sides, { ...rate, values: rates(values.asyncssh, count) }),
    toRow(
      {
        name: `ssh.execute.cpu.${concurrency}`,
        title: `processor time of our process per command, ${concurrency} at once, all threads, beside raw ssh2`,
        unit: 'ms',
        better: 'lower',
        ours: cpuTimes(values.ours),
        peer: { ...RAW, values: cpuTimes(values.peer) },
        settings,
      },
      options,
    ),
  ]
}

const NO_TURN: Turn = { seconds: Number.NaN, cpu: Number.NaN }

function besideAsyncssh(
  options: BenchOptions,
  { asyncssh }: Sides,
  { values, ...rate }: Omit<RowSpec, 'peer' | 'goal'> & { readonly values: readonly number[] },
): readonly Row[] {
  if (asyncssh === undefined) return []
  const peer = { name: 'asyncssh', version: asyncssh.version, values }
  const title = rate.title.replace(RAW.name, peer.name)
  const goal = { of: 'ratio', is: '>=', limit: 1.5 } as const
  return [toRow({ ...rate, name: `${rate.name}.asyncssh`, title, peer, goal }, options)]
}

/** Beside OpenSSH's own client, which starts a process for every command. */
async function besideOpenssh(options: BenchOptions, sides: Sides, concurrency: number): Promise<Row> {
  const connections = await sameConnections(sides, concurrency)
  const count = countOf(options, concurrency)
  const fewer = Math.ceil(count / 3)
  const openssh = await startOpensshControl(sides.sshd, sides.folder, connections)
  const values = await interleave(
    {
      ours: async () => (await runOurs(sides, count, concurrency)).seconds,
      peer: () => openssh.load(fewer, concurrency),
    },
    interleavingOf(options, `${concurrency} at once, OpenSSH`, 3),
  ).finally(openssh.close)
  await assertSameStill(sides, connections)
  return toRow(
    {
      name: `ssh.execute.openssh.${concurrency}`,
      title: `commands per second, ${concurrency} at once, beside OpenSSH's client over kept connections`,
      unit: 'commands/s',
      better: 'higher',
      ours: ratePerSecond(values.ours, count),
      peer: {
        name: 'ssh with ControlMaster',
        version: machineFacts().openssh.client ?? 'unknown',
        values: ratePerSecond(values.peer, fewer),
      },
      goal: { of: 'ratio', is: '>=', limit: 3 },
      settings: settingsOf(sides, connections, { command: COMMAND.command, concurrency, count }),
    },
    options,
  )
}

async function latency(options: BenchOptions, sides: Sides): Promise<readonly Row[]> {
  const connections = await sameConnections(sides, 1)
  const count = options.quick ? 30 : 50
  const load = { ...COMMAND, count, concurrency: 1 }
  const values = await interleave(
    {
      ours: async () => (await runOurs(sides, count, 1)).p50,
      peer: async () => (await sides.peer.call('load', load)).p50,
      durable: async () => (await sides.peer.call('durable', load)).p50,
    },
    interleavingOf(options, 'one at a time', 5),
  )
  await assertSameStill(sides, connections)
  const row = {
    name: 'ssh.execute.p50.1',
    title: 'latency (p50) of one command after the other through the whole path, beside raw ssh2',
    unit: 'ms',
    better: 'lower',
    ours: values.ours.map(median),
    settings: settingsOf(sides, connections, { command: COMMAND.command, concurrency: 1, count }),
  } as const
  const goal = { of: 'difference', is: '<=', limit: 1 } as const
  return [
    toRow({ ...row, peer: { ...RAW, values: values.peer.map(median) }, goal }, options),
    toRow({ ...row, name: `${row.name}.durable`, peer: { ...DURABLE, values: values.durable.map(median) } }, options),
  ]
}

/** Every command that was answered must be in the journal: otherwise it was not the whole path that was measured. */
function checkJournal(instance: string, ran: number): void {
  const db = new DatabaseSync(journalOf(instance), { readOnly: true })
  const row = db.prepare("SELECT count(*) AS n FROM runs WHERE status = 'completed'").get()
  db.close()
  if (row?.n !== ran) throw new Error(`${ran} commands were answered, and ${row?.n} are in the journal as completed`)
}

/** Gives the peer the least journal there can be, with the bytes of a command of ours. */
async function giveJournal(sides: Sides): Promise<void> {
  await runOurs(sides, 1, 1)
  const { folder, instance, pragmas } = sides
  await sides.peer.call('openJournal', { path: join(folder, 'peer.db'), like: journalOf(instance), pragmas })
}

async function measureAll(options: BenchOptions, sides: Sides): Promise<readonly Row[]> {
  await giveJournal(sides)
  // From few connections to many: the pool closes none for minutes.
  const rows = [...(await latency(options, sides))]
  for (const concurrency of [1, 10, 50]) {
    rows.push(...(await throughput(options, sides, concurrency)), await besideOpenssh(options, sides, concurrency))
  }
  return rows
}

export const ssh: Area = {
  name: 'ssh',
  summary: 'ssh.execute on its whole path, beside raw ssh2, asyncssh, OpenSSH with ControlMaster and Ansible',
  missing: serverMissing,
  run: (options) =>
    withFolder('ssh', async (folder) => {
      const sshd = await startServer()
      const instance = join(folder, 'instance')
      mkdirSync(instance)
      makeInstanceFolder(instance, {
        settings: { ssh: { max_channels_per_connection: CHANNELS_PER_CONNECTION } },
        target: { ssh: sshTargetOf(sshd) },
      })
      const ours = await startSide<InstanceSide>(new URL('./sides/instance.ts', import.meta.url), options)
      const peer = await startSide<RawSsh2>(new URL('./peers/raw-ssh2.ts', import.meta.url))
      const missing = asyncsshMissing()
      if (missing !== undefined) options.say(`  rows beside asyncssh are left out: ${missing}`)
      const asyncssh = missing === undefined ? await startAsyncssh(sshd) : undefined
      const pragmas = await journalPragmas(folder)
      const sides: Sides = { ours, peer, asyncssh, sshd, folder, instance, pragmas, ran: 0 }
      try {
        await ours.call('open', { folder: instance })
        const rows = await measureAll(options, sides)
        await ours.end()
        checkJournal(instance, sides.ran)
        return [...rows, ...(await hostsRows(options, sshd, folder)), ...(await poolRows(options, sshd, folder))]
      } finally {
        await Promise.all([ours.end(), peer.end(), asyncssh?.close()])
        await sshd.close()
      }
    }),
}
