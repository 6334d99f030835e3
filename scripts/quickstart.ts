/**
 * The main job, end to end, on this machine: an MCP client asks for a remote command, it runs on a real SSH server, and
 * the run is found again in the journal. Makes an instance in a folder that it keeps; stops what it started.
 *
 *   npm run quickstart [-- --json] [--require-sshd] [--built-in] [--serve] [--folder DIR]
 */
import './lib/assert-node.ts'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { promisify } from 'node:util'
import { Client } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { createOutput } from './lib/output.ts'
import { inRoot } from './lib/paths.ts'
import { writeInstance } from './quickstart/instance.ts'
import { type QuickstartServer, startBuiltInServer, startSystemSshd, systemSshd } from './quickstart/ssh-server.ts'

const started = performance.now()
const output = createOutput(process.argv.slice(2))
const bin = inRoot('bin/mahavishnu.cjs')
const COMMAND = 'echo "Hello from $(uname -s), as $(id -un)"; echo "a line on stderr" >&2; exit 3'

interface Options {
  readonly folder: string
  readonly requireSshd: boolean
  readonly builtIn: boolean
  readonly serve: boolean
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
async function callTool(folder: string): Promise<Record<string, unknown>> {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [bin, 'mcp', '--folder', folder],
    stderr: 'inherit',
  })
  const client = new Client({ name: 'quickstart', version: '1.0.0' })
  await client.connect(transport)
  try {
    const { tools } = await client.listTools()
    output.say(`MCP tools: ${tools.map((tool) => tool.name).join(', ')}\n`)
    const answer = await client.callTool({ name: 'ssh_execute', arguments: { target: 'demo', command: COMMAND } })
    if (answer.isError || answer.structuredContent === undefined)
      throw new Error(`ssh_execute failed: ${JSON.stringify(answer.content)}`)
    return answer.structuredContent as Record<string, unknown>
  } finally {
    await client.close()
  }
}

async function cli(folder: string, ...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [bin, ...args, '--folder', folder])
  return stdout
}

async function untilInterrupted(): Promise<void> {
  output.say('\nThe SSH server stays up until Ctrl-C.')
  // Listening for signals alone does not keep a process alive.
  const alive = setInterval(() => undefined, 60_000)
  await Promise.race([once(process, 'SIGINT'), once(process, 'SIGTERM')])
  clearInterval(alive)
}

async function main(): Promise<void> {
  const options = readOptions(output.args)
  const { folder } = options
  output.say(`Instance folder: ${folder}`)
  const server = await startServer(options)
  try {
    output.say(`SSH server: ${server.kind}, on 127.0.0.1:${server.port}`)
    await writeInstance(folder, server)

    output.say(`Calling ssh_execute over MCP: ${COMMAND}`)
    const run = await callTool(folder)
    output.say(`status ${run.status}, exit code ${run.exit_code}, effect ${run.effect_certainty}, run ${run.run_id}`)
    output.say(String(run.output))

    output.say('The journal entry, as the CLI shows it (mahavishnu runs show):')
    output.say(await cli(folder, 'runs', 'show', String(run.run_id)))
    const journal: unknown = JSON.parse(await cli(folder, 'runs', 'show', String(run.run_id), '--json'))

    const where = `--folder ${folder}`
    output.say('How to go on:')
    output.say(`  npx mahavishnu runs list ${where}`)
    output.say(`  npx mahavishnu runs show ${run.run_id} ${where}`)
    output.say(`  npx mahavishnu workers list ${where}`)
    output.say(`  npx mahavishnu doctor ${where}`)
    output.say(
      '  npm run quickstart -- --serve      keeps the SSH server up, so that this works from another terminal:',
    )
    output.say(`  npx mahavishnu ssh execute demo ${where} -- 'uname -a'   (while it is up)`)
    if (options.serve) await untilInterrupted()

    const seconds = Math.round((performance.now() - started) / 100) / 10
    output.finish(
      { ok: true, node: process.versions.node, ssh_server: server.kind, run, journal, folder, seconds },
      `quickstart done in ${seconds} s`,
    )
  } finally {
    await server.stop()
  }
}

try {
  await main()
  process.exit(0)
} catch (error) {
  const message = error instanceof Error ? error.message : String(error)
  output.finish({ ok: false, node: process.versions.node, error: message }, `quickstart failed: ${message}`)
  process.exit(1)
}
