import type { ClientRequest, IncomingMessage } from 'node:http'
import { mhvError, systemCode, toMhvError } from '../core/errors.ts'
import type { SignedHeaders } from './signature.ts'
import { guardedLookup, webhookUrl } from './webhook-address.ts'

/** Bytes read of an answer's body, which tells nothing that is needed; what is longer is cut off with the connection. */
const MAX_ANSWER_BYTES = 64 * 1024

export interface WebhookRequest {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly signed: SignedHeaders
  readonly body: string
  /** Aborted at the end of its time, or when the process stops. */
  readonly signal: AbortSignal
}

/**
 * Posts once. Any 2xx is taken; redirects are not followed, so nobody but the named host is ever connected to. Throws
 * MHV_NOTIFY_FAILED (with `retryAfter` where the receiver gave one, `details.status`) or MHV_NOTIFY_ADDRESS.
 */
export async function sendWebhook(request: WebhookRequest): Promise<void> {
  const url = webhookUrl(request.url)
  const answer = await post(url, request)
  const status = answer.statusCode ?? 0
  await drain(answer)
  if (status >= 200 && status < 300) return
  const retryAfter = secondsOf(answer.headers['retry-after'])
  throw mhvError(
    'MHV_NOTIFY_FAILED',
    `${url.host} answered ${status}${status >= 300 && status < 400 ? ', and redirects are not followed' : ''}`,
    {
      details: { status },
      ...(retryAfter === undefined ? {} : { retryAfter }),
    },
  )
}

async function post(url: URL, { headers, signed, body, signal }: WebhookRequest): Promise<IncomingMessage> {
  const plain = url.protocol === 'http:'
  // Loaded by the first notification: most processes send none, and with `node:http` comes all of Node's `fetch`.
  const { request } = await (plain ? import('node:http') : import('node:https'))
  return new Promise((resolve, reject) => {
    const failed = (error: unknown) => reject(signal.aborted ? signal.reason : failure(url, error))
    let sent: ClientRequest
    try {
      sent = request(url, {
        method: 'POST',
        headers: {
          'user-agent': 'mahavishnu',
          ...headers,
          ...signed,
          'content-type': 'application/json',
          'content-length': Buffer.byteLength(body),
        },
        lookup: guardedLookup(plain),
        // A connection of its own: what is kept open belongs to nobody between two notifications.
        agent: false,
        signal,
      })
    } catch (error) {
      return failed(error)
    }
    sent.on('response', resolve)
    sent.on('error', failed)
    sent.end(body)
  })
}

function failure(url: URL, error: unknown) {
  const known = toMhvError(error)
  if (known.code !== 'MHV_INTERNAL') return known
  return mhvError('MHV_NOTIFY_FAILED', `${url.host} could not be reached (${systemCode(error) ?? known.message})`, {
    cause: error,
  })
}

/** Reads the answer to its end, or to its bound. Whatever becomes of it, the status counts. */
async function drain(answer: IncomingMessage): Promise<void> {
  let bytes = 0
  try {
    for await (const piece of answer) {
      bytes += (piece as Buffer).length
      if (bytes > MAX_ANSWER_BYTES) break
    }
  } catch {
    // Cut off in the middle of an answer of which the status was read.
  } finally {
    answer.destroy()
  }
}

/** `Retry-After` in seconds (RFC 9110, 10.2.3); a date is not honoured. */
function secondsOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,6}$/.test(text.trim()) ? Number(text) : undefined
}
