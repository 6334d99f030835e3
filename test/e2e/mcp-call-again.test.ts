import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Client } from '@modelcontextprotocol/client'
import type { WorkerResult } from '../../src/core/result.ts'
import { callOf, cutOff, ERAS, eventually, type HttpFixture, httpFixture } from '../fixtures/mcp-http-fixture.ts'

let fixture: HttpFixture
before(async () => {
  fixture = await httpFixture()
})
after(() => fixture.close())

/**
 * A client whose connection drops in the middle of a call, several times, and that then calls again until it has an
 * answer. Resolves with the answer and the number of effects that there were.
 */
async function dropAndCallAgain(client: Client, args: Record<string, unknown>) {
  const before = fixture.ledger.calls.length
  const call = { target: 'one', pieces: ['done'], wait_ms: 1_000, ...args }
  for (let drops = 0; drops < 3; drops++) {
    const acting = eventually(() => (fixture.ledger.calls.length > before ? delay(100, true) : undefined))
    if (client.getProtocolEra() === 'legacy') {
      await cutOff(fixture.url, 'probe_emit', call, acting)
      continue
    }
    // In this era, this closes the stream and sends nothing: for the server, a connection that broke.
    const controller = new AbortController()
    const calling = callOf(client, 'probe_emit', call, { signal: controller.signal }).catch(() => undefined)
    await acting
    controller.abort()
    await calling
  }
  const { data } = await callOf(client, 'probe_emit', call)
  return { result: data as unknown as WorkerResult, effects: fixture.ledger.calls.length - before }
}

for (const [era, mode] of Object.entries(ERAS)) {
  describe(`MCP-05: ${era}: a client that drops the connection and calls again with the same key`, () => {
    test('causes one effect, and gets its result', async () => {
      const client = await fixture.client(mode)
      const { result, effects } = await dropAndCallAgain(client, { idempotency_key: `once ${era}` })
      assert.equal(effects, 1)
      assert.equal(result.status, 'completed')
      assert.deepEqual(result.data, { text: 'done', bytes: 4, dropped_bytes: 0 })
    })

    test('gets the result also when the run ended while it was away', async () => {
      const client = await fixture.client(mode)
      const call = { idempotency_key: `away ${era}` }
      const first = await dropAndCallAgain(client, call)
      const { data } = await callOf(client, 'probe_emit', { target: 'one', pieces: ['done'], wait_ms: 1_000, ...call })
      assert.equal(data.run_id, first.result.run_id)
    })

    test('negative control: without a key, each call is an effect', async () => {
      const client = await fixture.client(mode)
      const { effects } = await dropAndCallAgain(client, {})
      assert.ok(effects > 1, `there were ${effects} effects`)
    })
  })
}
