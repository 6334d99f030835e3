/**
 * Over HTTP a server object serves one request, and is given only what the head of that request can reach. So the head
 * must never reach further, or less far, than the body does.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type HttpFixture, httpFixture } from '../fixtures/mcp-http-fixture.ts'

let fixture: HttpFixture
before(async () => {
  fixture = await httpFixture()
})
after(() => fixture.close())

const META = 'io.modelcontextprotocol'

async function ask(method: string, params: Record<string, unknown>, head: Record<string, string>) {
  const _meta = {
    [`${META}/protocolVersion`]: '2026-07-28',
    [`${META}/clientInfo`]: { name: 'test', version: '1' },
    [`${META}/clientCapabilities`]: {},
  }
  const response = await fetch(fixture.url, {
    method: 'POST',
    headers: {
      authorization: 'Bearer tester',
      'content-type': 'application/json',
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': '2026-07-28',
      ...head,
    },
    body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: { ...params, _meta } }),
  })
  const { result, error } = (await response.json()) as { result?: Record<string, unknown>; error?: { message: string } }
  return { status: response.status, result, error: error?.message }
}

const calling = { name: 'worker_list', arguments: {} }

describe('MCP over HTTP: the head of a request and its body', () => {
  test('a call that both agree on is answered', async () => {
    const { status, result } = await ask('tools/call', calling, {
      'mcp-method': 'tools/call',
      'mcp-name': 'worker_list',
    })
    assert.equal(status, 200)
    assert.ok(Array.isArray((result?.structuredContent as { workers?: unknown } | undefined)?.workers))
  })

  test('a name that is written in another way reaches the same tool', async () => {
    const encoded = `=?base64?${Buffer.from('worker_list').toString('base64')}?=`
    const { status, result } = await ask('tools/call', calling, { 'mcp-method': 'tools/call', 'mcp-name': encoded })
    assert.equal(status, 200)
    assert.ok(Array.isArray((result?.structuredContent as { workers?: unknown } | undefined)?.workers))
  })

  for (const [what, head] of Object.entries({
    'another tool': { 'mcp-method': 'tools/call', 'mcp-name': 'run_list' },
    'another method': { 'mcp-method': 'tools/list' },
    'no method': { 'mcp-name': 'worker_list' },
  })) {
    test(`a head that names ${what} is refused`, async () => {
      const { status, result, error } = await ask('tools/call', calling, head as unknown as Record<string, string>)
      assert.deepEqual([status, result], [400, undefined])
      assert.ok(error)
    })
  }

  test('a head that names a call does not hide tools from a request for their list', async () => {
    const { status, result } = await ask('tools/list', {}, { 'mcp-method': 'tools/call', 'mcp-name': 'worker_list' })
    assert.deepEqual([status, result], [400, undefined])
  })

  test('a tool that there is not is unknown, not missing by accident', async () => {
    const head = { 'mcp-method': 'tools/call', 'mcp-name': 'no_such_tool' }
    const { error } = await ask('tools/call', { name: 'no_such_tool', arguments: {} }, head)
    assert.match(error ?? '', /no_such_tool not found/)
  })
})

describe('MCP over HTTP: choices', () => {
  for (const mode of ['legacy', { pin: '2026-07-28' }] as const) {
    test(`are completed for whoever asks (${mode === 'legacy' ? '2025-11-25' : mode.pin})`, async () => {
      const asked: string[] = []
      const seen = await httpFixture()
      try {
        const control = seen.instance.control
        Object.assign(seen.instance, {
          control: (request: Parameters<typeof control>[0]) => {
            asked.push(request.principal.id)
            return control(request)
          },
        })
        const clients = [await seen.client(mode, 'agent-a'), await seen.client(mode, 'agent-b')]
        for (const client of [...clients, ...clients]) {
          const ref = { type: 'ref/prompt', name: 'check_host' } as const
          const { completion } = await client.complete({ ref, argument: { name: 'target', value: '' } })
          assert.ok(completion.values.length > 0)
        }
      } finally {
        await seen.close()
      }
      assert.deepEqual(asked, ['agent-a', 'agent-b', 'agent-a', 'agent-b'])
    })
  }
})
