/** MCP over HTTP: calls per second beside fastify and the SDK alone, and what `mahavishnu up` costs. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { type Area, type BenchOptions, interleavingOf } from './harness/area.ts'
import { withFolder } from './harness/folder.ts'
import { type HttpServerUnderTest, processorTime, startHttpServer } from './harness/http-server.ts'
import { makeInstanceFolder } from './harness/instance-folder.ts'
import { interleave, ratePerSecond } from './harness/interleave.ts'
import { packageVersion } from './harness/machine.ts'
import { MAHAVISHNU, pause, procMissing, residentMegabytes } from './harness/process.ts'
import { type Goal, type Row, toRow } from './harness/row.ts'
import { type Side, startSide } from './harness/side.ts'
import { median } from './harness/stats.ts'
import type { HttpCaller, McpHttpCall } from './sides/http-caller.ts'

const BARE_SERVER = fileURLToPath(new URL('./peers/bare-http-server.mjs', import.meta.url))
const CALLER = new URL('./sides/http-caller.ts', import.meta.url)
const TOOL = 'worker_list'
const MODERN = '2026-07-28'
const LEGACY = '2025-11-25'
const SERVER_INFO = 'io.modelcontextprotocol/serverInfo'
/** Milliseconds that a process is left alone before its memory is read. */
const SETTLE_MS = 2_000

/** Names and versions of everything that the peer consists of. */
const PEER = ['fastify', '@modelcontextprotocol/server', '@modelcontextprotocol/node']
const peerOf = (values: readonly number[]) => ({
  name: 'bare fastify + SDK server',
  version: PEER.map((name) => `${name.replace('@modelcontextprotocol', 'mcp')} ${packageVersion(name)}`).join(', '),
  values,
})

interface Sides {
  readonly ours: HttpServerUnderTest
  readonly bare: HttpServerUnderTest
  readonly token: string
  /** A client in a process of its own for each. */
  readonly oursCaller: Side<HttpCaller>
  readonly bareCaller: Side<HttpCaller>
}

/** What one side made of a round's turn. Times in milliseconds, but for `seconds`. */
interface Turn {
  readonly seconds: number
  readonly p95: number
  /** Processor time of the server per call. */
  readonly cpu: number
}

async function turn(server: HttpServerUnderTest, caller: Side<HttpCaller>, count: number, concurrency: number) {
  const before = processorTime(server.pid)
  const { seconds, p95 } = await caller.call('load', { count, concurrency })
  return { seconds, p95, cpu: (processorTime(server.pid) - before) / count } satisfies Turn
}

interface Wanted {
  readonly era: McpHttpCall['era']
  readonly concurrency: number
  /** Calls of a turn. */
  readonly calls: number
  /** Of the rate; what has none is only told. */
  readonly goal?: Goal
  /** Ending of the names of its rows. */
  readonly at: string
}

const perRound = (rounds: readonly (readonly Turn[])[], of: keyof Turn) =>
  rounds.map((turns) => median(turns.map((each) => each[of])))

async function calls(options: BenchOptions, sides: Sides, wanted: Wanted): Promise<readonly Row[]> {
  const { ours, bare, oursCaller, bareCaller, token } = sides
  const { era, concurrency, at, goal } = wanted
  const count = options.quick ? Math.ceil(wanted.calls / 2) : wanted.calls
  const call = { token, era, method: 'tools/call', params: { name: TOOL, arguments: {} } } as const
  const one = await oursCaller.call('open', { ...call, url: ours.url })
  const other = await bareCaller.call('open', { ...call, url: bare.url })
  // Order of keys apart: the same bytes.
  if (one.bytes !== other.bytes || !isDeepStrictEqual(one.result, other.result)) {
    throw new Error(`ours answers ${JSON.stringify(one)}, the peer ${JSON.stringify(other)}`)
  }
  const values = await interleave<'ours' | 'peer', Turn>(
    {
      ours: () => turn(ours, oursCaller, count, concurrency),
      peer: () => turn(bare, bareCaller, count, concurrency),
    },
    interleavingOf(options, `${TOOL}, ${concurrency} at once, ${era}`, 3),
  )
  const common = {
    settings: {
      era,
      transport: 'HTTP on loopback, kept connections',
      client: 'node:http in a process of its own for each server',
      concurrency,
      calls_per_turn: count,
      answer_bytes: one.bytes,
    },
  } as const
  const lower = (of: 'p95' | 'cpu') =>
    ({
      ...common,
      unit: 'ms',
      better: 'lower',
      ours: perRound(values.ours, of),
      peer: peerOf(perRound(values.peer, of)),
    }) as const
  const seconds = (rounds: readonly (readonly Turn[])[]) => rounds.map((turns) => turns.map((each) => each.seconds))
  return [
    toRow(
      {
        ...common,
        name: `http.mcp.rate.${at}`,
        title: `calls of ${TOOL} per second over HTTP, ${concurrency} at once`,
        unit: 'calls/s',
        better: 'higher',
        ours: ratePerSecond(seconds(values.ours), count),
        peer: peerOf(ratePerSecond(seconds(values.peer), count)),
        ...(goal === undefined ? {} : { goal }),
      },
      options,
    ),
    toRow({ ...lower('p95'), name: `http.mcp.p95.${at}`, title: 'latency (p95) of these calls' }, options),
    toRow(
      { ...lower('cpu'), name: `http.mcp.cpu.${at}`, title: "processor time of the server's process per call" },
      options,
    ),
  ]
}

/** What our server tells of itself, for a peer that tells the same. */
async function writePeerFile(file: string, { url }: HttpServerUnderTest, token: string, caller: Side<HttpCaller>) {
  const ask = async (method: string, params = {}) =>
    (await caller.call('open', { url, token, era: MODERN, method, params })).result
  const { capabilities, instructions } = await ask('server/discover')
  const { tools } = await ask('tools/list')
  const { content, structuredContent, _meta } = await ask('tools/call', { name: TOOL, arguments: {} })
  // The SDK itself adds who the server is.
  const { [SERVER_INFO]: server, ...meta } = _meta as Record<string, unknown>
  const { tools: toolsCapability } = capabilities as Record<string, unknown>
  const options = { instructions, capabilities: { tools: toolsCapability } }
  writeFileSync(file, JSON.stringify({ server, options, tools, answer: { content, structuredContent, _meta: meta } }))
}

function startOurs(folder: string, { profile }: BenchOptions): Promise<HttpServerUnderTest> {
  const [node, program] = MAHAVISHNU
  const profiling = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]
  return startHttpServer([node, ...profiling, program, 'up', '--folder', folder])
}

const startBare = (file: string) => startHttpServer([process.execPath, BARE_SERVER, file])
const tokenOf = (folder: string) => readFileSync(join(folder, 'http.token'), 'utf8').trim()

/** Starts each server anew, waits until it is ready, calls it once, and lets it rest. */
async function startAndRest(options: BenchOptions, folder: string, file: string): Promise<readonly Row[]> {
  const caller = await startSide<HttpCaller>(CALLER)
  const call = {
    token: tokenOf(folder),
    era: MODERN,
    method: 'tools/call',
    params: { name: TOOL, arguments: {} },
  } as const
  const once = async (server: HttpServerUnderTest) => {
    await caller.call('open', { ...call, url: server.url })
    await pause(SETTLE_MS)
    const megabytes = residentMegabytes(server.pid)
    await server.close()
    return { ready: server.readyMs, megabytes }
  }
  const values = await interleave(
    {
      ours: async () => once(await startOurs(folder, { ...options, profile: undefined })),
      peer: async () => once(await startBare(file)),
    },
    { ...interleavingOf(options, 'start and memory', 1), warmUp: 0 },
  )
  await caller.end()
  const of = (what: 'ready' | 'megabytes') => ({
    better: 'lower' as const,
    ours: values.ours.map((turns) => median(turns.map((each) => each[what]))),
    peer: peerOf(values.peer.map((turns) => median(turns.map((each) => each[what])))),
  })
  return [
    toRow(
      {
        ...of('ready'),
        name: 'http.up.ready',
        title: 'wall time of mahavishnu up from its start until /readyz answers 200',
        unit: 'ms',
        goal: { of: 'ours', is: '<', limit: 1_000 },
        settings: {},
      },
      options,
    ),
    toRow(
      {
        ...of('megabytes'),
        name: 'http.up.rss',
        title: 'resident memory of mahavishnu up after its first MCP call, idle',
        unit: 'MB',
        goal: { of: 'ours', is: '<', limit: 130 },
        settings: { settle_ms: SETTLE_MS, megabyte: '10^6 bytes' },
      },
      options,
    ),
  ]
}

const ATLEAST: Goal = { of: 'ratio', is: '>=', limit: 0.8 }
const LOADS: readonly Wanted[] = [
  { at: '16', era: MODERN, concurrency: 16, calls: 1_000, goal: ATLEAST },
  { at: '1', era: MODERN, concurrency: 1, calls: 500, goal: ATLEAST },
  { at: '16.legacy', era: LEGACY, concurrency: 16, calls: 1_000 },
]

async function measureCalls(options: BenchOptions, folder: string, file: string): Promise<readonly Row[]> {
  await using undo = new AsyncDisposableStack()
  const ours = await startOurs(folder, options)
  undo.defer(ours.close)
  const token = tokenOf(folder)
  const [oursCaller, bareCaller] = [await startSide<HttpCaller>(CALLER), await startSide<HttpCaller>(CALLER)]
  undo.defer(oursCaller.end)
  undo.defer(bareCaller.end)
  await writePeerFile(file, ours, token, oursCaller)
  const bare = await startBare(file)
  undo.defer(bare.close)
  const rows: Row[] = []
  for (const wanted of LOADS)
    rows.push(...(await calls(options, { ours, bare, token, oursCaller, bareCaller }, wanted)))
  return rows
}

export const http: Area = {
  name: 'http',
  summary: 'MCP calls over HTTP beside fastify and the SDK alone; start and memory of mahavishnu up',
  missing: procMissing,
  run: (options) =>
    withFolder('http', async (folder) => {
      const file = join(folder, 'peer.json')
      // Never connected to: worker_list only tells of it. The limit of requests is not what is measured.
      makeInstanceFolder(folder, {
        settings: { http: { port: 0, rate_limit_per_second: 100_000, rate_limit_burst: 1_000_000 } },
        target: { ssh: { host: '127.0.0.1', user: 'nobody' } },
      })
      const rows = await measureCalls(options, folder, file)
      return [...rows, ...(await startAndRest(options, folder, file))]
    }),
}
