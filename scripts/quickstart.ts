/**
 * The main job, end to end, on this machine: an MCP client asks for a remote command, it runs on a real SSH server, and
 * the run is found again in the journal, over HTTP and in the metrics. Makes an instance in a folder that it keeps;
 * stops what it started.
 *
 *   npm run quickstart [-- --json] [--require-sshd] [--built-in] [--serve] [--folder DIR]
 */
import './lib/assert-node.ts'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { createOutput } from './lib/output.ts'
import { cli, withMcp } from './quickstart/clients.ts'
import { writeInstance } from './quickstart/instance.ts'
import { type QuickstartServer, startBuiltInServer, startSystemSshd, systemSshd } from './quickstart/ssh-server.ts'
import { startUp, type Up } from './quickstart/up.ts'

const started = performance.now()
const output = createOutput(process.argv.slice(2))
const COMMAND = 'echo "Hello from $(uname -s), as $(id -un)"; echo "a line on stderr" >&2; exit 3'

let serving = false

interface Options {
  readonly folder: string
  readonly requireSshd: boolean
  readonly builtIn: boolean
  readonly serve: boolean
}

/** What is shown of the answer of `GET /v1/runs/{run_id}`. */
interface RunPage {
  readonly run: Readonly<Record<'operation' | 'target' | 'status' | 'exit_code', unknown>>
  readonly events: readonly unknown[]
}

function readOptions(args: readonly string[]): Options {
  const rest = [...args]
  const flag = (name: string) => {
    const at = rest.indexOf(name)
    if (at >= 0) rest.splice(at, 1)
    return at >= 0
  }
  const at = rest.indexOf('--folder')
  const [, folder = '.quickstart'] = at >= 0 ? rest.splice(at, 2) : []
  const options = {
    folder: resolve(process.env.INIT_CWD ?? process.cwd(), folder),
    requireSshd: flag('--require-sshd'),
    builtIn: flag('--built-in'),
    serve: flag('--serve'),
  }
  if (rest.length > 0)
    throw new Error(`unknown option ${rest[0]}; known: --json --require-sshd --built-in --serve --folder DIR`)
  return options
}

async function startServer({ folder, requireSshd, builtIn }: Options): Promise<QuickstartServer> {
  const sshd = builtIn ? undefined : await systemSshd()
  if (sshd !== undefined) return startSystemSshd(sshd, folder)
  if (requireSshd) throw new Error('there is no sshd on this machine (Debian: apt-get install openssh-server)')
  output.say(
    builtIn
      ? 'Using the built-in SSH server, as asked.'
      : 'No sshd on this machine: using a small built-in SSH server.',
  )
  return startBuiltInServer(folder)
}

/** Calls `ssh_execute` as an MCP client would: over stdio, on `mahavishnu mcp`. */
function callTool(folder: string): Promise<Record<string, unknown>> {
  return withMcp(folder, (call, toolNames) => {
    output.say(`MCP tools: ${toolNames.join(', ')}\n`)
    return call('ssh_execute', { target: 'demo', command: COMMAND })
  })
}

/** The same run over HTTP, and the line of the metrics that counts it. */
async function showOverHttp(up: Up, runId: string) {
  const page = JSON.parse(await up.get(`/v1/runs/${runId}`)) as RunPage
  const { run, events } = page
  output.say(`The same run over HTTP: GET ${up.url}/v1/runs/${runId}`)
  output.say(`  ${run.operation} on ${run.target}: ${run.status}, exit code ${run.exit_code}, ${events.length} events`)
  const lines = (await up.get('/metrics')).split('\n')
  const metric = lines.find((line) => line.startsWith('mahavishnu_runs_total{') && line.includes('"ssh.execute"'))
  if (metric === undefined) throw new Error('the metrics count no run of ssh.execute')
  output.say(`Counted: GET ${up.url}/metrics`)
  output.say(`  ${metric}\n`)
  return { url: up.url, pid: up.pid, metric, page }
}

async function untilInterrupted(folder: string, up: Up): Promise<void> {
  output.say(`  curl -H "Authorization: Bearer $(cat ${folder}/http.token)" ${up.url}/v1/runs`)
  output.say('\nBoth servers stay up until Ctrl-C.')
  // Listening for signals alone does not keep a process alive.
  const alive = setInterval(() => undefined, 60_000)
  serving = true
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
  serving = false
  clearInterval(alive)
}

/** A signal would end this process and leave its servers behind; an exit ends them (`endWithThisProcess`). */
function exitOnSignals(): void {
  for (const [signal, code] of [
    ['SIGHUP', 129],
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    process.on(signal, () => {
      // What `--serve` waits for: then everything is stopped in its order.
      if (!serving || signal === 'SIGHUP') process.exit(code)
    })
}

function sayNextSteps(folder: string, runId: string): void {
  const where = `--folder ${folder}`
  output.say('How to go on:')
  output.say(`  npx mahavishnu runs list ${where}`)
  output.say(`  npx mahavishnu runs show ${runId} ${where}`)
  output.say(`  npx mahavishnu workers list ${where}`)
  output.say(`  npx mahavishnu doctor ${where}`)
  output.say('  npm run quickstart -- --serve      keeps both servers up, so that this works from another terminal:')
  output.say(`  npx mahavishnu ssh execute demo ${where} -- 'uname -a'   (while they are up)`)
}

async function main(): Promise<void> {
  const options = readOptions(output.args)
  const { folder } = options
  output.say(`Instance folder: ${folder}`)
  await using undo = new AsyncDisposableStack()
  const server = await startServer(options)
  undo.defer(() => server.stop())
  output.say(`SSH server: ${server.kind}, on 127.0.0.1:${server.port}`)
  await writeInstance(folder, server)
  const up = await startUp(folder)
  undo.defer(() => up.stop())
  output.say(`mahavishnu up: ${up.url}`)

  output.say(`Calling ssh_execute over MCP: ${COMMAND}`)
  const run = await callTool(folder)
  const runId = String(run.run_id)
  output.say(`status ${run.status}, exit code ${run.exit_code}, effect ${run.effect_certainty}, run ${runId}`)
  output.say(String(run.output))

  output.say('The journal entry, as the CLI shows it (mahavishnu runs show):')
  output.say(await cli(folder, 'runs', 'show', runId))
  const journal: unknown = JSON.parse(await cli(folder, 'runs', 'show', runId, '--json'))

  const http = await showOverHttp(up, runId)
  sayNextSteps(folder, runId)
  if (options.serve) await untilInterrupted(folder, up)

  await undo.disposeAsync()
  const seconds = Math.round((performance.now() - started) / 100) / 10
  output.finish(
    { ok: true, node: process.versions.node, ssh_server: server.kind, run, journal, http, folder, seconds },
    `quickstart done in ${seconds} s`,
  )
}

exitOnSignals()
try {
  await main()
  process.exit(0)
} catch (error) {
  const message = error instanceof Error ? error.message : String(error)
  output.finish({ ok: false, node: process.versions.node, error: message }, `quickstart failed: ${message}`)
  process.exit(1)
}
