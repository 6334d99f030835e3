import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { createMCPClient } from '@ai-sdk/mcp'
import { Experimental_StdioMCPTransport as StdioMCPTransport } from '@ai-sdk/mcp/mcp-stdio'
import { inRoot } from '../../scripts/lib/paths.ts'
import { PROGRAM, surfaceFolder } from '../helpers/mcp-cli-fixture.ts'

let folder: Awaited<ReturnType<typeof surfaceFolder>>
before(async () => {
  folder = await surfaceFolder()
})
after(() => folder.remove())

describe('MCP-01: the official inspector', () => {
  const launcher = inRoot('node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js')

  async function inspect(...args: string[]) {
    const server = [process.execPath, PROGRAM, 'mcp', '--folder', folder.path]
    const { stdout } = await promisify(execFile)(process.execPath, [launcher, '--cli', ...server, ...args])
    return JSON.parse(stdout)
  }

  test('finds the tools, and none of their schemas in error', async () => {
    // With --strict it fails for a schema that other clients could not use.
    const { tools } = await inspect('--method', 'tools/list', '--strict')
    assert.ok(tools.some(({ name }: { name: string }) => name === 'local_execute'))
  })

  test('calls a tool', async () => {
    const call = ['--method', 'tools/call', '--tool-name', 'local_execute']
    const answer = await inspect(...call, '--tool-arg', 'target=here', '--tool-arg', 'command=echo hello')
    assert.equal(answer.structuredContent.data.stdout, 'hello\n')
  })
})

describe('MCP-01: a client that shares no code with the SDK', () => {
  test('finds the tools and calls them', async () => {
    const args = [PROGRAM, 'mcp', '--folder', folder.path]
    const transport = new StdioMCPTransport({ command: process.execPath, args, stderr: 'inherit' })
    const client = await createMCPClient({ transport })
    try {
      assert.equal(client.serverInfo.name, 'mahavishnu')
      const { tools } = await client.listTools()
      assert.ok(tools.some(({ name }) => name === 'run_wait'))

      const answer = await client.callTool({ name: 'probe_touch', arguments: { target: 'one', value: 'hello' } })
      assert.deepEqual((answer.structuredContent as { data: unknown }).data, { value: 'hello' })
      const refused = await client.callTool({ name: 'probe_touch', arguments: { target: 'nowhere' } })
      assert.equal(refused.isError, true)

      const set = await client.tools()
      assert.ok(set.local_execute)
    } finally {
      await client.close()
    }
  })
})
