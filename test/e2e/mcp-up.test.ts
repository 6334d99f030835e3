import assert from 'node:assert/strict'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { httpSettingsSchema } from '../../src/config/schema.ts'
import type { WorkerResult } from '../../src/core/result.ts'
import { mcpRoute } from '../../src/surfaces/http/mcp-route.ts'
import { createHttpServer, type HttpServer } from '../../src/surfaces/http/server.ts'
import { callOf, ERAS, type HttpFixture, httpFixture } from '../fixtures/mcp-http-fixture.ts'
import { startUp } from '../helpers/http-up.ts'
import { probeFolder } from '../helpers/probe-composition.ts'

const TOKEN = 'a-token-for-tests-that-is-long-enough'

let fixture: HttpFixture
let server: HttpServer
let url: string
const clients: Client[] = []

before(async () => {
  fixture = await httpFixture()
  const { instance } = fixture
  const settings = httpSettingsSchema.parse({ port: 0 })
  server = await createHttpServer({
    instance,
    token: { name: 'agent', value: TOKEN },
    settings,
    version: '9.8.7',
    mount: mcpRoute(instance, '9.8.7', settings),
  })
  url = (await server.listen()).url
})
after(async () => {
  await Promise.all(clients.map((client) => client.close()))
  await server.close()
  await fixture.close()
})

async function connect(mode: (typeof ERAS)[keyof typeof ERAS], headers: Record<string, string>): Promise<Client> {
  const client = new Client({ name: 'test', version: '1.0.0' }, { versionNegotiation: { mode } })
  clients.push(client)
  await client.connect(new StreamableHTTPClientTransport(new URL('/mcp', url), { requestInit: { headers } }))
  return client
}

const allowed = { authorization: `Bearer ${TOKEN}` }

for (const [era, mode] of Object.entries(ERAS)) {
  describe(`MCP on the server of the instance: ${era}`, () => {
    test('answers whoever has the token, as the name of the token', async () => {
      const client = await connect(mode, allowed)
      const { data } = await callOf(client, 'probe_touch', { target: 'one', value: 'x' })
      assert.equal((data as unknown as WorkerResult).metadata.principal, 'token:agent')
    })

    test('answers nobody else', async () => {
      await assert.rejects(connect(mode, {}), /401|[Aa]uthoriz/)
      await assert.rejects(connect(mode, { authorization: 'Bearer wrong' }), /401|[Aa]uthoriz/)
      await assert.rejects(connect(mode, { ...allowed, origin: 'https://evil.example' }), /403|denied|[Ff]orbidden/)
    })

    test('MCP-03: a run that was started here is cancelled over HTTP', async () => {
      const client = await connect(mode, allowed)
      const { run_id } = (await callOf(client, 'local_execute', { target: 'here', command: 'sleep 300', wait: 0 })).data
      const answer = await fetch(new URL(`/v1/runs/${run_id}/cancel`, url), {
        method: 'POST',
        headers: { ...allowed, 'content-type': 'application/json' },
        body: '{}',
      })
      const { run } = (await answer.json()) as { run: WorkerResult }
      assert.deepEqual([run.status, run.effect_certainty], ['cancelled', 'unknown'])
      const { text } = await callOf(client, 'run_get', { run_id })
      assert.match(text, /cancelled by token:agent/)
    })
  })
}

describe('MCP on `mahavishnu up`: what it shows is a setting', () => {
  /** The tools that the program shows, and what a call of one that it hides says, with these options. */
  async function shownBy(...args: string[]) {
    const folder = await probeFolder()
    const removed = () => rm(folder, { recursive: true, force: true })
    const up = await startUp(folder, ...args).catch((error: unknown) => removed().then(() => Promise.reject(error)))
    try {
      const token = (await readFile(join(folder, 'http.token'), 'utf8')).trim()
      const client = new Client({ name: 'test', version: '1.0.0' })
      const requestInit = { headers: { authorization: `Bearer ${token}` } }
      await client.connect(new StreamableHTTPClientTransport(new URL('/mcp', up.url), { requestInit }))
      const { tools } = await client.listTools()
      const called = await callOf(client, 'operation_call', { operation: 'probe.touch', target: 'one' }).then(
        ({ text }) => text,
        (error: Error) => error.message,
      )
      await client.close()
      return { names: tools.map(({ name }) => name), called, writes: tools.some((t) => !t.annotations?.readOnlyHint) }
    } finally {
      up.child.kill('SIGTERM')
      await up.ended()
      await removed()
    }
  }

  test('by default, the tools of the profile default, those that change things among them', async () => {
    const { names, writes } = await shownBy()
    assert.ok(names.includes('probe_touch') && !names.includes('worker_spawn'))
    assert.equal(writes, true)
  })

  test('http.mcp_profile chooses another profile', async () => {
    const { names } = await shownBy('--set', 'http.mcp_profile=upstream')
    assert.ok(names.includes('worker_spawn') && names.includes('worker_execute_batch'), names.join(' '))
  })

  test('http.mcp_read_only shows and takes only what changes nothing', async () => {
    const { names, writes, called } = await shownBy(
      '--set',
      'http.mcp_profile=upstream',
      '--set',
      'http.mcp_read_only=true',
    )
    assert.equal(writes, false)
    assert.ok(names.includes('worker_monitor') && !names.includes('worker_spawn') && !names.includes('probe_touch'))
    assert.match(called, /not found|MHV_POLICY_DENIED/)
  })

  test('a profile that does not exist is refused by name', async () => {
    await assert.rejects(shownBy('--set', 'http.mcp_profile=ful'), /MHV_CONFIG_INVALID.*mcp_profile/s)
  })
})
