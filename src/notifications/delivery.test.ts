import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, test } from 'node:test'
import { startWebhookReceiver, WEBHOOK_SECRET, type WebhookReceiver } from '../../test/helpers/webhook-receiver.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { createSecret } from '../core/secret.ts'
import { createMemoryStore } from '../store/memory.ts'
import { createDelivery } from './delivery.ts'
import { type Destination, type NotificationSettings, outboxName } from './destination.ts'

const COMMON = { least_severity: 'info', kinds: [], timeout_seconds: 0.5 } as const
const SETTINGS: NotificationSettings = {
  destinations: {},
  dedupe_seconds: 300,
  rate_per_minute: 1_000,
  max_waiting: 1_000,
  max_attempts: 20,
  retry: { base_ms: 10, cap_ms: 40 },
}

const closing: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function receiver(port?: number): Promise<WebhookReceiver> {
  const started = await startWebhookReceiver(port)
  closing.push(started.close)
  return started
}

function webhook(url: string, more: Partial<Destination> = {}): Destination {
  return { webhook: url, secret: 'env:HOOK', headers: {}, ...COMMON, ...more } as Destination
}

function createFixture(
  destinations: Record<string, Destination>,
  settings: Partial<NotificationSettings> = {},
  clock: Clock = systemClock,
) {
  const store = createMemoryStore(systemClock)
  const log: { level: string; message: string; fields: unknown }[] = []
  const counted: string[] = []
  const line = (level: string) => (message: string, fields?: unknown) => void log.push({ level, message, fields })
  const delivery = createDelivery({
    outbox: store,
    settings: { ...SETTINGS, destinations, ...settings },
    secrets: { resolve: async (reference) => createSecret(String(reference), WEBHOOK_SECRET) },
    clock,
    log: { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') },
    redact: (value) => value,
    count: (outcome, destination) => void counted.push(`${outcome} ${destination}`),
  })
  closing.push(() => delivery.close(0))
  let number = 0
  async function put(name: string): Promise<string> {
    number += 1
    const id = `01K5E2W9QZ3V7M4T8N6R1X${String(number).padStart(4, '0')}`
    const payload = { type: 'test', timestamp: 'now', data: { number } }
    await store.enqueueOutbox({ id, destination: outboxName(name), kind: 'test', payload, at: 0, dedupe_key: null })
    delivery.wake()
    return id
  }
  async function empty(withinMs = 10_000): Promise<void> {
    const until = performance.now() + withinMs
    while ((await store.outboxStats()).waiting > 0) {
      if (performance.now() > until) throw new Error(`still waiting: ${JSON.stringify(await store.outboxStats())}`)
      await systemClock.sleep(5)
    }
  }
  return { store, log, counted, delivery, put, empty }
}

function numbers({ received }: WebhookReceiver): number[] {
  return received.map(({ payload }) => payload?.data.number)
}

describe('delivery of webhooks', () => {
  test('an independent implementation verifies the signature; id, headers and order are right', async () => {
    const server = await receiver()
    const { put, empty, counted } = createFixture({
      ops: webhook(server.url, { headers: { 'x-team': 'ops', 'webhook-id': 'forged' } }),
    })
    const ids = []
    for (let index = 0; index < 20; index++) ids.push(await put('ops'))
    await empty()
    assert.deepEqual(
      server.received.map(({ id }) => id),
      ids,
    )
    assert.deepEqual(
      numbers(server),
      ids.map((_, index) => index + 1),
    )
    assert.equal(server.received[0]?.headers['x-team'], 'ops')
    assert.equal(server.received[0]?.headers['content-type'], 'application/json')
    assert.equal(counted.filter((each) => each === 'delivered ops').length, 20)
  })

  test('a receiver that fails gets the same one again, under the same id, before the next', async () => {
    const server = await receiver()
    server.answer = (response, index) => void response.writeHead(index < 4 ? 500 : 200).end('x'.repeat(1_000_000))
    const { put, empty, counted } = createFixture({ ops: webhook(server.url) })
    const first = await put('ops')
    const second = await put('ops')
    await empty()
    assert.deepEqual(
      server.received.map(({ id }) => id),
      [first, first, first, first, first, second],
    )
    assert.deepEqual(numbers(server), [1, 1, 1, 1, 1, 2])
    assert.equal(counted.filter((each) => each === 'failed ops').length, 4)
  })

  test('RES-09: a wall clock that is set back while a receiver fails holds nothing up', async () => {
    let jump = 0
    const clock = { ...systemClock, now: () => systemClock.now() + jump }
    const server = await receiver()
    server.answer = (response, index) => void response.writeHead(index < 2 ? 500 : 200).end()
    const { put, empty } = createFixture({ ops: webhook(server.url) }, {}, clock)
    jump = 86_400_000
    const ids = [await put('ops')]
    await server.until(2, 5_000)
    jump = 0
    ids.push(await put('ops'))
    await empty()
    assert.deepEqual(
      server.received.map(({ id }) => id),
      [ids[0], ids[0], ids[0], ids[1]],
    )
  })

  test('a receiver that is down for a while loses nothing, and holds up nobody else', async () => {
    const other = await receiver()
    const port = await freePort()
    const { put, empty, counted } = createFixture(
      { down: webhook(`http://127.0.0.1:${port}/`), up: webhook(other.url) },
      { max_attempts: 1_000 },
    )
    const ids = [await put('down'), await put('down'), await put('down')]
    await put('up')
    await other.until(1, 2_000)
    while (counted.filter((each) => each === 'failed down').length < 5) await systemClock.sleep(5)
    const server = await receiver(port)
    await empty()
    assert.deepEqual(
      server.received.map(({ id }) => id),
      ids,
    )
  })

  test('a receiver that hangs is cut off at its time, in the head and in the body of its answer', async () => {
    const server = await receiver()
    server.answer = (response, index) => {
      if (index === 0) return
      if (index === 1) response.writeHead(500).write('for ever')
      else response.writeHead(204).end()
    }
    const { put, empty } = createFixture({ ops: webhook(server.url, { timeout_seconds: 0.2 }) })
    await put('ops')
    await empty()
    assert.equal(server.received.length, 3)
    const [first, second, third] = server.received.map(({ at }) => at)
    assert.ok((second as number) - (first as number) >= 190)
    assert.ok((third as number) - (second as number) < 1_000)
  })

  test('an answer without end is read to its bound only', async () => {
    const server = await receiver()
    let written = 0
    server.answer = (response) => {
      response.writeHead(200)
      const piece = Buffer.alloc(65_536)
      const pour = () => {
        while (!response.destroyed && response.write(piece)) written += piece.length
        if (!response.destroyed) response.once('drain', pour)
      }
      pour()
    }
    const { put, empty } = createFixture({ ops: webhook(server.url, { timeout_seconds: 20 }) })
    await put('ops')
    await empty(3_000)
    assert.ok(written < 32 * 1_048_576, `${written} bytes`)
    assert.equal(server.received.length, 1)
  })

  test('redirects are not followed', async () => {
    const inner = await receiver()
    const server = await receiver()
    server.answer = (response) => void response.writeHead(307, { location: inner.url }).end()
    const { put, empty, log } = createFixture({ ops: webhook(server.url) }, { max_attempts: 2 })
    await put('ops')
    await empty()
    assert.equal(inner.received.length, 0)
    assert.equal(server.received.length, 2)
    assert.match(JSON.stringify(log), /answered 307, and redirects are not followed/)
  })

  test('the attempts have an end, which is told; what comes after is delivered', async () => {
    const server = await receiver()
    server.answer = (response, index) => void response.writeHead(index < 3 ? 503 : 204).end()
    const { put, empty, log, counted } = createFixture({ ops: webhook(server.url) }, { max_attempts: 3 })
    const first = await put('ops')
    await put('ops')
    await empty()
    assert.deepEqual(numbers(server), [1, 1, 1, 2])
    const told = log.find(({ level }) => level === 'error')
    assert.ok(told)
    assert.match(told.message, /given up/)
    assert.equal((told.fields as { id: string }).id, first)
    assert.deepEqual(
      counted.filter((each) => each.startsWith('given_up')),
      ['given_up ops'],
    )
  })

  test('410 ends it at once; Retry-After is waited for', async () => {
    const server = await receiver()
    server.answer = (response, index) => {
      if (index === 0) response.writeHead(410).end()
      else if (index === 1) response.writeHead(429, { 'retry-after': '1' }).end()
      else response.writeHead(204).end()
    }
    const { put, empty } = createFixture({ ops: webhook(server.url) })
    await put('ops')
    await put('ops')
    await empty()
    assert.deepEqual(numbers(server), [1, 2, 2])
    assert.ok((server.received[2]?.at as number) - (server.received[1]?.at as number) >= 990)
  })

  test('a secret of another form, an address that is not allowed, and a destination that is gone are told', async () => {
    const server = await receiver()
    const { put, empty, log } = createFixture({ meta: webhook('https://169.254.169.254/latest') })
    await put('meta')
    await put('gone')
    await empty()
    assert.equal(log.filter(({ level }) => level === 'error').length, 2)
    assert.equal(server.received.length, 0)
  })
})

describe('delivery to programs', () => {
  test('the notification comes on standard input; a failure is tried again', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'mhv-notify-'))
    closing.push(() => rm(folder, { recursive: true }))
    const file = join(folder, 'got')
    // Fails at first, so that the file has the notification twice.
    const script = 'cat >> "$1"; echo "|$MAHAVISHNU_NOTIFICATION_ID|$2" >> "$1"; test "$(wc -l < "$1")" -ge 2'
    const command = ['sh', '-c', script, 'sh', file, '; rm -rf "$HOME"']
    const { put, empty } = createFixture({ pager: { command, ...COMMON, timeout_seconds: 5 } })
    const id = await put('pager')
    await empty()
    const lines = (await readFile(file, 'utf8')).trim().split('\n')
    const expected = `{"type":"test","timestamp":"now","data":{"number":1}}|${id}|; rm -rf "$HOME"`
    assert.deepEqual(lines, [expected, expected])
  })

  test('a program that does not end is ended', async () => {
    const { put, empty, log } = createFixture(
      { pager: { command: ['sleep', '60'], ...COMMON, timeout_seconds: 0.2 } },
      { max_attempts: 1 },
    )
    const began = performance.now()
    await put('pager')
    await empty(5_000)
    assert.ok(performance.now() - began < 4_000)
    assert.match(JSON.stringify(log), /given up/)
  })
})

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}
