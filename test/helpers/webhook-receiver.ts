/** A server on a free loopback port that takes webhooks and verifies them with an implementation that is not ours. */
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import { Webhook } from 'standardwebhooks'

export interface ReceivedWebhook {
  readonly id: string
  readonly at: number
  readonly headers: IncomingHttpHeaders
  /** Null where the signature was wrong. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into every shape
  readonly payload: any
}

export interface WebhookReceiver {
  readonly url: string
  readonly port: number
  readonly secret: string
  /** Everything that came, in its order, also what was not taken. */
  readonly received: readonly ReceivedWebhook[]
  /** How the next ones are answered; the default is 204. */
  answer: (response: ServerResponse, index: number) => void
  /** Resolves when so many have come. */
  until(count: number, withinMs?: number): Promise<void>
  close(): Promise<void>
}

export const WEBHOOK_SECRET = `whsec_${Buffer.from('a key of thirty-two bytes, really').toString('base64')}`

export async function startWebhookReceiver(port = 0): Promise<WebhookReceiver> {
  const verifier = new Webhook(WEBHOOK_SECRET)
  const received: ReceivedWebhook[] = []
  const server = createServer(async (request, response) => {
    const body = (await buffer(request)).toString()
    const headers = request.headers as Record<string, string>
    let payload: unknown = null
    try {
      payload = verifier.verify(body, headers)
    } catch {
      // Kept as null: the test sees it.
    }
    received.push({ id: String(headers['webhook-id']), at: performance.now(), headers, payload })
    receiver.answer(response, received.length - 1)
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  const receiver: WebhookReceiver = {
    port: (server.address() as AddressInfo).port,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook?x=1`,
    secret: WEBHOOK_SECRET,
    received,
    answer: (response) => void response.writeHead(204).end(),
    async until(count, withinMs = 10_000) {
      const end = performance.now() + withinMs
      while (received.length < count) {
        if (performance.now() > end) throw new Error(`${received.length} of ${count} webhooks came`)
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    },
    close: () => closeServer(server),
  }
  return receiver
}

function closeServer(server: Server): Promise<void> {
  server.closeAllConnections()
  return new Promise((resolve) => server.close(() => resolve()))
}
