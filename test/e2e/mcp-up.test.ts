import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { httpSettingsSchema } from '../../src/config/schema.ts'
import type { WorkerResult } from '../../src/core/result.ts'
import { mcpRoute } from '../../src/surfaces/http/mcp-route.ts'
import { createHttpServer, type HttpServer } from '../../src/surfaces/http/server.ts'
import { callOf, ERAS, type HttpFixture, httpFixture } from '../fixtures/mcp-http-fixture.ts'

const TOKEN = 'a-token-for-tests-that-is-long-enough'

let fixture: HttpFixture
let server: HttpServer
let url: string
const clients: Client[] = []

before(async () => {
  fixture = await httpFixture()
  const { instance } = fixture
  server = await createHttpServer({
    instance,
    token: { name: 'agent', value: TOKEN },
    settings: httpSettingsSchema.parse({ port: 0 }),
    version: '9.8.7',
    mount: mcpRoute(instance, '9.8.7'),
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
