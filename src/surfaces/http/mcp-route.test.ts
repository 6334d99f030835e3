import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fastify } from 'fastify'
import { createRegistry } from '../../core/registry.ts'
import type { Instance } from '../../runtime/instance.ts'
import { createProbeWorker } from '../../testing/probe-worker.ts'
import { MCP_PATH, mcpRoute } from './mcp-route.ts'

/** A server whose MCP cannot be loaded so many times, and how it answers what is no JSON. */
async function failing(failures: number) {
  const registry = createRegistry([createProbeWorker()])
  let left = failures
  const instance = {
    get registry() {
      left -= 1
      if (left >= 0) throw new Error('too many open files')
      return registry
    },
    log: { debug: () => undefined },
  } as unknown as Instance
  const app = fastify()
  app.decorateRequest('caller', null)
  app.addHook('onRequest', async (request) => {
    request.caller = { principal: { id: 'token:default', kind: 'service' }, surface: 'http' }
  })
  await app.register(mcpRoute(instance, '1', { mcp_profile: 'default', mcp_read_only: false }))
  const url = `${await app.listen({ host: '127.0.0.1', port: 0 })}${MCP_PATH}`
  const headers = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' }
  const ask = async () => (await fetch(url, { method: 'POST', headers, body: '{' })).status
  return { app, ask }
}

test('MCP that could not be loaded is loaded again by the next request', async () => {
  const { app, ask } = await failing(2)
  assert.deepEqual([await ask(), await ask(), await ask()], [500, 500, 400])
  await app.close()
})

test('MCP that could not be loaded does not keep the server from closing', async () => {
  const { app, ask } = await failing(1)
  assert.equal(await ask(), 500)
  await app.close()
  assert.equal(app.server.listening, false)
})
