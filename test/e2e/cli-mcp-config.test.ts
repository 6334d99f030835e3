import assert from 'node:assert/strict'
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { createConfigCalls } from '../../src/app/config-calls.ts'
import { EXIT } from '../../src/core/error-table.ts'
import { MCP_CLIENTS } from '../../src/surfaces/cli/mcp-clients.ts'
import { startUp } from '../helpers/http-up.ts'
import {
  PROGRAM,
  runHere,
  runProgram,
  surfaceApp,
  surfaceComposition,
  surfaceFolder,
} from '../helpers/mcp-cli-fixture.ts'
import { clientEnvironment } from '../helpers/mcp-client-environment.ts'
import { probeComposition, probeFolder } from '../helpers/probe-composition.ts'

const composition = surfaceComposition()
const app = { ...surfaceApp(composition), config: createConfigCalls(composition) }

let folder: Awaited<ReturnType<typeof surfaceFolder>>
before(async () => {
  folder = await surfaceFolder()
})
after(() => folder.remove())

const config = (client: string, ...more: string[]) =>
  runHere(['mcp', 'config', '--client', client, '--folder', folder.path, ...more], { app })

describe('mcp config, for a client that starts the program', () => {
  const command = '/usr/bin/node'
  const args = () => ['/opt/mahavishnu', 'mcp', '--folder', folder.path]

  test('claude, cursor and vscode: JSON in the form of each', async () => {
    const server = { type: 'stdio', command, args: args() }
    const expected = {
      claude: { mcpServers: { mahavishnu: server } },
      cursor: { mcpServers: { mahavishnu: server } },
      vscode: { servers: { mahavishnu: server } },
    }
    for (const [client, document] of Object.entries(expected)) {
      const { code, stdout, stderr } = await config(client)
      assert.equal(code, 0)
      assert.deepEqual(JSON.parse(stdout), document, client)
      assert.match(stderr, /^for .*mcp\.json/)
    }
  })

  test('codex: TOML', async () => {
    const { stdout, stderr } = await config('codex')
    const listed = args().map((word) => JSON.stringify(word))
    assert.equal(stdout, `[mcp_servers.mahavishnu]\ncommand = "${command}"\nargs = [${listed.join(', ')}]\n`)
    assert.equal(stderr, 'for ~/.codex/config.toml\n')
  })

  test('takes along which tools are offered, and settings; a folder is made absolute', async () => {
    const more = ['--profile', 'full', '--read-only', '--set', 'log.level=debug']
    const { mcpServers } = JSON.parse((await config('claude', ...more)).stdout)
    const extra = ['--set', 'log.level=debug', '--profile', 'full', '--read-only']
    assert.deepEqual(mcpServers.mahavishnu.args, [...args(), ...extra])
    const relative = await runHere(['mcp', 'config', '--client', 'claude', '--folder', 'some/where'], { app })
    assert.equal(JSON.parse(relative.stdout).mcpServers.mahavishnu.args[3], join(process.cwd(), 'some/where'))
  })

  test('with --json is one document', async () => {
    for (const client of MCP_CLIENTS) {
      const { stdout } = await config(client, '--json')
      const document = JSON.parse(stdout)
      assert.deepEqual([document.client, document.format], [client, client === 'codex' ? 'toml' : 'json'])
      assert.equal(`${document.text}\n`, (await config(client)).stdout)
    }
  })

  test('refuses what the client would take for a variable of its own', async () => {
    for (const client of ['claude', 'cursor', 'vscode']) {
      for (const more of [
        ['--folder', '/srv/${HOME}/instance'],
        ['--set', 'log.level=${env:LEVEL}'],
      ]) {
        const { code, stdout, stderr } = await config(client, ...more)
        assert.deepEqual([code, stdout], [EXIT.input, ''], client)
        assert.match(stderr, /MHV_CLI_USAGE: .*\$\{/)
      }
    }
    assert.equal((await config('codex', '--folder', '/srv/${HOME}/instance')).code, 0)
  })

  test('what is printed starts a server that answers', { timeout: 60_000 }, async () => {
    const { stdout } = await runProgram(['mcp', 'config', '--client', 'claude', '--folder', folder.path])
    const { mahavishnu } = JSON.parse(stdout).mcpServers
    assert.deepEqual([mahavishnu.command, mahavishnu.args[0]], [process.execPath, PROGRAM])
    const client = new Client({ name: 'test', version: '1.0.0' })
    const { command, args } = mahavishnu
    await client.connect(new StdioClientTransport({ command, args, cwd: '/', env: clientEnvironment() }))
    const { tools } = await client.listTools()
    assert.ok(tools.some(({ name }) => name === 'probe_touch'))
    await client.close()
  })

  test('the client has to be named, and nothing is written', async () => {
    const unnamed = await runHere(['mcp', 'config', '--folder', folder.path], { app })
    assert.equal(unnamed.code, EXIT.input)
    assert.match(unnamed.stderr, /--client/)
    assert.match((await config('emacs')).stderr, /Allowed choices are claude, cursor, vscode, codex/)
    const written = (await readdir(folder.path, { recursive: true })).filter((name) => /mcp|codex|cursor/.test(name))
    assert.deepEqual(written, [])
  })
})

describe('mcp config --http, for an instance that runs', () => {
  const url = 'http://127.0.0.1:7420/mcp'

  test('refers to the token in the way of each client', async () => {
    const json = async (client: string) => JSON.parse((await config(client, '--http')).stdout)
    assert.deepEqual((await json('claude')).mcpServers.mahavishnu, {
      type: 'http',
      url,
      headers: { Authorization: 'Bearer ${MAHAVISHNU_TOKEN}' },
    })
    assert.deepEqual((await json('cursor')).mcpServers.mahavishnu, {
      url,
      headers: { Authorization: 'Bearer ${env:MAHAVISHNU_TOKEN}' },
    })
    const { inputs, servers } = await json('vscode')
    assert.equal(servers.mahavishnu.headers.Authorization, `Bearer \${input:${inputs[0].id}}`)
    assert.equal(inputs[0].password, true)
    const codex = await config('codex', '--http')
    assert.equal(codex.stdout, `[mcp_servers.mahavishnu]\nurl = "${url}"\nbearer_token_env_var = "MAHAVISHNU_TOKEN"\n`)
    assert.match(codex.stderr, /export MAHAVISHNU_TOKEN="\$\(cat .*http\.token\)"\n$/)
  })

  test('has the address of the settings, and none where it changes with every start', async () => {
    const { stdout } = await config('codex', '--http', '--set', 'http.port=7999')
    assert.match(stdout, /url = "http:\/\/127\.0\.0\.1:7999\/mcp"/)
    const { code, stderr } = await config('codex', '--http', '--set', 'http.port=0')
    assert.equal(code, EXIT.input)
    assert.match(stderr, /http\.port is 0.*\nfix: Set http\.port/)
    assert.match((await config('codex', '--http', '--read-only')).stderr, /the running instance decides/)
  })

  test('with the token of an instance that is up, what is printed connects; the token is printed nowhere', {
    timeout: 60_000,
  }, async () => {
    const where = await probeFolder()
    const up = await startUp(where)
    try {
      const token = (await readFile(join(where, 'http.token'), 'utf8')).trim()
      const probe = probeComposition()
      const config = (client: string, ...more: string[]) =>
        runHere(['mcp', 'config', '--client', client, '--folder', where, ...more], {
          app: { ...surfaceApp(probe), config: createConfigCalls(probe) },
        })
      const at = ['--http', '--set', `http.port=${new URL(up.url).port}`]
      for (const name of MCP_CLIENTS) {
        const { stdout, stderr } = await config(name, ...at)
        assert.ok(!stdout.includes(token) && !stderr.includes(token))
      }
      const { mahavishnu } = JSON.parse((await config('claude', ...at)).stdout).mcpServers
      const authorization = mahavishnu.headers.Authorization.replace('${MAHAVISHNU_TOKEN}', token)
      const client = new Client({ name: 'test', version: '1.0.0' })
      const requestInit = { headers: { authorization } }
      await client.connect(new StreamableHTTPClientTransport(new URL(mahavishnu.url), { requestInit }))
      assert.ok((await client.listTools()).tools.length > 0)
      await client.close()
    } finally {
      up.child.kill('SIGTERM')
      await up.ended()
      await rm(where, { recursive: true, force: true })
    }
  })
})

test('mcp without a word serves, and a wrong word is told', async () => {
  const { code, stdout } = await runProgram(['mcp', '--folder', folder.path])
  assert.deepEqual([code, stdout], [0, ''])
  const wrong = await runProgram(['mcp', 'confg', '--folder', folder.path])
  assert.equal(wrong.code, EXIT.input)
  assert.match(
    wrong.stderr,
    /error MHV_CLI_USAGE: unknown command 'confg'; did you mean "config"\?\nfix: See `mahavishnu mcp --help`/,
  )
})
