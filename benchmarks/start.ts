/** What the program costs before it does anything, and what open connections cost. */
import { spawnSync } from 'node:child_process'
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Area, type BenchOptions, interleavingOf } from './harness/area.ts'
import { withFolder } from './harness/folder.ts'
import { makeInstanceFolder, sshTargetOf, TARGET } from './harness/instance-folder.ts'
import { interleave } from './harness/interleave.ts'
import { packageVersion } from './harness/machine.ts'
import { type McpServerUnderTest, startMcpServer } from './harness/mcp-client.ts'
import { MAHAVISHNU, pause, procMissing, residentMegabytes, wallTime } from './harness/process.ts'
import { type Row, toRow } from './harness/row.ts'
import { startSide } from './harness/side.ts'
import { type BenchSshd, CIPHER, serverMissing, startServer } from './harness/sshd.ts'
import { median } from './harness/stats.ts'
import type { RawSsh2 } from './peers/raw-ssh2.ts'

const BARE_SERVER = fileURLToPath(new URL('./peers/bare-mcp-server.mjs', import.meta.url))
const PIPE_MAKER = 'mkfifo'
const CONNECTIONS = 100
/** Milliseconds that a process is left alone before its memory is read. */
const SETTLE_MS = 1_000

const NODE = { name: 'Node doing nothing', version: process.version }

async function startUp(options: BenchOptions, argument: '--version' | '--help'): Promise<Row> {
  const [node, program] = MAHAVISHNU
  const values = await interleave(
    {
      ours: () => wallTime(node, [program, argument]),
      peer: () => wallTime(node, ['-e', '0']),
    },
    interleavingOf(options, `mahavishnu ${argument}`, 10),
  )
  return toRow(
    {
      name: `start${argument.replace('--', '.')}`,
      title: `wall time (p50) of mahavishnu ${argument}, from start to end of the process`,
      unit: 'ms',
      better: 'lower',
      ours: values.ours.map(median),
      peer: { ...NODE, values: values.peer.map(median) },
      ...(argument === '--version' ? { goal: { of: 'ours', is: '<', limit: 150 } as const } : {}),
      settings: { starts_per_round: options.quick ? 1 : 10 },
    },
    options,
  )
}

async function settledMegabytes(pid: number): Promise<number> {
  await pause(SETTLE_MS)
  return residentMegabytes(pid)
}

function startOurs(instance: string): Promise<McpServerUnderTest> {
  return startMcpServer([...MAHAVISHNU, 'mcp', '--folder', instance])
}

function runCommand(server: McpServerUnderTest, command: string): Promise<Record<string, unknown>> {
  return server.call('ssh_execute', { target: TARGET, command })
}

/** Memory of a server that has told its tools and was asked for nothing, and after its first commands. */
async function memory(options: BenchOptions, instance: string): Promise<readonly Row[]> {
  const after: number[] = []
  const values = await interleave(
    {
      ours: async () => {
        const server = await startOurs(instance)
        const before = await settledMegabytes(server.pid)
        await runCommand(server, 'echo x')
        after.push(await settledMegabytes(server.pid))
        await server.close()
        return before
      },
      peer: async () => {
        const server = await startMcpServer([process.execPath, BARE_SERVER])
        const megabytes = await settledMegabytes(server.pid)
        await server.close()
        return megabytes
      },
    },
    { ...interleavingOf(options, 'memory', 1), warmUp: 0 },
  )
  const peer = {
    name: 'bare SDK server',
    version: packageVersion('@modelcontextprotocol/server'),
    values: values.peer.flat(),
  }
  const common = {
    unit: 'MB',
    better: 'lower',
    peer,
    settings: { settle_ms: SETTLE_MS, megabyte: '10^6 bytes' },
  } as const
  return [
    toRow(
      {
        ...common,
        name: 'start.mcp.rss',
        title: 'resident memory of mahavishnu mcp before its first call, its tools listed',
        ours: values.ours.flat(),
        goal: { of: 'ours', is: '<', limit: 120 },
      },
      options,
    ),
    toRow(
      {
        ...common,
        name: 'start.mcp.rss.used',
        title: 'resident memory of mahavishnu mcp after its first ssh_execute',
        ours: after,
      },
      options,
    ),
  ]
}

/** Holds as many commands open as there are to be connections; they end when somebody writes to the pipe. */
function makeGate(folder: string): { readonly command: string; open(): void } {
  const path = join(folder, 'gate')
  const { status, stderr } = spawnSync(PIPE_MAKER, [path])
  if (status !== 0) throw new Error(`${PIPE_MAKER}: ${stderr}`)
  return { command: `cat '${path}'`, open: () => closeSync(openSync(path, 'w')) }
}

async function connectionsOf(server: McpServerUnderTest): Promise<number> {
  const health = await server.call('worker_health', { worker: 'ssh' })
  const [ssh] = health.workers as { readonly connection: Readonly<Record<string, unknown>> }[]
  return Number(ssh?.connection.connections)
}

async function growthOfOurs(instance: string, gate: ReturnType<typeof makeGate>): Promise<number> {
  const server = await startOurs(instance)
  await runCommand(server, 'echo x')
  const before = await settledMegabytes(server.pid)
  const runs = Array.from({ length: CONNECTIONS }, () => runCommand(server, gate.command))
  while ((await connectionsOf(server)) < CONNECTIONS) await Promise.race([pause(200), Promise.all(runs)])
  gate.open()
  await Promise.all(runs)
  const grown = (await settledMegabytes(server.pid)) - before
  const still = await connectionsOf(server)
  await server.close()
  if (still !== CONNECTIONS) throw new Error(`there were ${still} connections, not ${CONNECTIONS}`)
  return grown
}

async function growthOfPeer(sshd: BenchSshd): Promise<number> {
  const { host, port, user, identityFile } = sshd
  const peer = await startSide<RawSsh2>(new URL('./peers/raw-ssh2.ts', import.meta.url))
  const open = (count: number) => peer.call('open', { host, port, user, identityFile, cipher: CIPHER, count })
  const load = { command: 'echo x', expected: 'x\n' }
  await open(1)
  await peer.call('load', { ...load, count: 1, concurrency: 1 })
  const before = await settledMegabytes(peer.pid)
  await open(CONNECTIONS)
  await peer.call('load', { ...load, count: CONNECTIONS, concurrency: CONNECTIONS })
  const grown = (await settledMegabytes(peer.pid)) - before
  await peer.end()
  return grown
}

async function growth(options: BenchOptions, sshd: BenchSshd, folder: string, instance: string): Promise<Row> {
  const gate = makeGate(folder)
  const values = await interleave(
    { ours: () => growthOfOurs(instance, gate), peer: () => growthOfPeer(sshd) },
    { ...interleavingOf(options, `${CONNECTIONS} connections`, 1), warmUp: 0 },
  )
  return toRow(
    {
      name: `start.mcp.rss.connections.${CONNECTIONS}`,
      title: `growth of resident memory from 1 to ${CONNECTIONS} open SSH connections, idle again`,
      unit: 'MB',
      better: 'lower',
      ours: values.ours.flat(),
      peer: { name: 'raw ssh2', version: packageVersion('ssh2'), values: values.peer.flat() },
      goal: { of: 'ours', is: '<=', limit: 40 },
      settings: { connections: CONNECTIONS, settle_ms: SETTLE_MS, megabyte: '10^6 bytes', ...sshd.settings },
    },
    options,
  )
}

export const start: Area = {
  name: 'start',
  summary: 'start-up time, memory at rest, and memory of 100 SSH connections',
  missing: () => procMissing() ?? serverMissing(),
  run: (options) =>
    withFolder('start', async (folder) => {
      const sshd = await startServer()
      const instance = join(folder, 'instance')
      mkdirSync(instance)
      const room = { max_concurrent: CONNECTIONS + 10 }
      makeInstanceFolder(instance, {
        settings: {
          admission: { ...room, target: room, principal: room },
          ssh: {
            admission: room,
            max_connections: CONNECTIONS,
            max_connections_per_host: CONNECTIONS,
            max_channels_per_connection: 1,
          },
        },
        target: { ssh: sshTargetOf(sshd) },
      })
      try {
        const started = [await startUp(options, '--version'), await startUp(options, '--help')]
        return [...started, ...(await memory(options, instance)), await growth(options, sshd, folder, instance)]
      } finally {
        await sshd.close()
      }
    }),
}
