/** The MCP server over stdio: what a call costs beside the SDK alone, and beside the commits it waits for. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Area, type BenchOptions, interleavingOf } from './harness/area.ts'
import { commitsOf } from './harness/commits.ts'
import { withFolder } from './harness/folder.ts'
import { journalOf, journalPragmas, makeInstanceFolder, TARGET } from './harness/instance-folder.ts'
import { interleave } from './harness/interleave.ts'
import { packageVersion } from './harness/machine.ts'
import { type McpServerUnderTest, startMcpServer } from './harness/mcp-client.ts'
import { MAHAVISHNU } from './harness/process.ts'
import { type Row, toRow } from './harness/row.ts'
import { type Side, startSide } from './harness/side.ts'
import { median } from './harness/stats.ts'
import type { BareSqlite } from './peers/bare-sqlite.ts'

const BARE_SERVER = fileURLToPath(new URL('./peers/bare-mcp-server.mjs', import.meta.url))
const PROBE_SERVER = fileURLToPath(new URL('./sides/probe-mcp.ts', import.meta.url))
/** Milliseconds; the least that a timer takes. */
const PAUSE_MS = 1
const TOUCH = { target: TARGET, value: 'x' }

interface Sides {
  /** The program as it is installed. */
  readonly ours: McpServerUnderTest
  readonly bare: McpServerUnderTest
  /** The same server with the probe as its worker. */
  readonly probe: McpServerUnderTest
  readonly probeJournal: string
  readonly sqlite: Side<BareSqlite>
  readonly folder: string
}

const clientSettings = () => ({
  transport: 'stdio',
  client: `@modelcontextprotocol/client ${packageVersion('@modelcontextprotocol/client')}`,
  server: `@modelcontextprotocol/server ${packageVersion('@modelcontextprotocol/server')}`,
})

async function unjournaled(options: BenchOptions, { ours, bare }: Sides): Promise<Row> {
  const calls = options.quick ? 50 : 100
  const values = await interleave(
    {
      ours: async () => (await ours.load(calls, 'worker_list')).p50,
      peer: async () => (await bare.load(calls, 'nothing')).p50,
    },
    interleavingOf(options, 'worker_list', 10),
  )
  return toRow(
    {
      name: 'mcp.worker_list.p50',
      title: "latency (p50) of a call that journals nothing, beside a tool of the SDK's own server that does nothing",
      unit: 'ms',
      better: 'lower',
      ours: values.ours.map(median),
      peer: {
        name: 'bare SDK server',
        version: packageVersion('@modelcontextprotocol/server'),
        values: values.peer.map(median),
      },
      goal: { of: 'difference', is: '<=', limit: 0.3 },
      settings: { ...clientSettings(), calls_per_turn: calls },
    },
    options,
  )
}

/** How many commits one call waits for, counted by SQLite itself. */
async function commitsPerCall({ probe, probeJournal }: Sides): Promise<number> {
  const calls = 20
  await probe.load(calls, 'probe_touch', TOUCH)
  const before = commitsOf(probeJournal)
  await probe.load(calls, 'probe_touch', TOUCH)
  return (commitsOf(probeJournal) - before) / calls
}

/**
 * The goal is set against commits that follow each other at once. Those of a server do not: it rests in between, and so
 * does the disk, whose next sync then takes longer. The second row tells how much of the difference that is.
 */
async function journaled(options: BenchOptions, sides: Sides): Promise<readonly Row[]> {
  const calls = options.quick ? 50 : 100
  const { probe, sqlite, probeJournal } = sides
  const commits = await commitsPerCall(sides)
  if (commits !== 2) throw new Error(`a journaled call makes ${commits} commits; the peer makes 2`)
  const path = join(sides.folder, 'peer.db')
  await sqlite.call('open', { path, like: probeJournal, pragmas: await journalPragmas(sides.folder) })
  const values = await interleave(
    {
      ours: async () => (await probe.load(calls, 'probe_touch', TOUCH)).p50,
      peer: async () => (await sqlite.call('commits', { count: calls, pauseMs: 0 })).p50,
      paced: async () => (await sqlite.call('commits', { count: calls, pauseMs: PAUSE_MS })).p50,
    },
    interleavingOf(options, 'a journaled call', 10),
  )
  const common = {
    title: 'latency (p50) of a call that does nothing but is journaled as a write, beside the same commits alone',
    unit: 'ms',
    better: 'lower',
    ours: values.ours.map(median),
    settings: { ...clientSettings(), calls_per_turn: calls, commits_per_call: commits },
  } as const
  const version = `SQLite ${process.versions.sqlite}`
  const peer = { name: 'bare node:sqlite commits', version, values: values.peer.map(median) }
  const paced = { name: `the same with ${PAUSE_MS} ms of rest before each`, version, values: values.paced.map(median) }
  return [
    toRow({ ...common, name: 'mcp.journaled.p50', peer, goal: { of: 'difference', is: '<=', limit: 1 } }, options),
    toRow({ ...common, name: 'mcp.journaled.p50.paced', peer: paced }, options),
  ]
}

async function startSides(folder: string, options: BenchOptions): Promise<Sides> {
  const [own, probed] = [join(folder, 'own'), join(folder, 'probe')]
  mkdirSync(own)
  mkdirSync(probed)
  // Never connected to: worker_list only tells of it.
  makeInstanceFolder(own, { target: { ssh: { host: '127.0.0.1', user: 'nobody' } } })
  makeInstanceFolder(probed, { target: { probe: {} } })
  const profiling = options.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${options.profile}`]
  const [node, program] = MAHAVISHNU
  const sqlite = await startSide<BareSqlite>(new URL('./peers/bare-sqlite.ts', import.meta.url))
  return {
    ours: await startMcpServer([node, ...profiling, program, 'mcp', '--folder', own]),
    bare: await startMcpServer([node, BARE_SERVER]),
    probe: await startMcpServer([node, ...profiling, PROBE_SERVER, probed]),
    probeJournal: journalOf(probed),
    sqlite,
    folder,
  }
}

export const mcp: Area = {
  name: 'mcp',
  summary: "calls over stdio, beside the SDK's bare server and beside the commits that they wait for",
  missing: () => undefined,
  run: (options) =>
    withFolder('mcp', async (folder) => {
      const sides = await startSides(folder, options)
      const { ours, bare, probe, sqlite } = sides
      try {
        return [await unjournaled(options, sides), ...(await journaled(options, sides))]
      } finally {
        await Promise.all([ours.close(), bare.close(), probe.close(), sqlite.end()])
      }
    }),
}
