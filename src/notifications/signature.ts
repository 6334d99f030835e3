import { createHmac } from 'node:crypto'
import { mhvError } from '../core/errors.ts'

/** Standard Webhooks 1.0.0, "Signature scheme": secrets are `whsec_` and 24 to 64 bytes in base64. */
const SECRET = /^whsec_([A-Za-z0-9+/]+={0,2})$/
const MIN_KEY_BYTES = 24
const MAX_KEY_BYTES = 64

/** The headers that tell a receiver who sent it, which one it is, and when. */
export interface SignedHeaders {
  /** The same over all tries: a receiver that has it already drops it. */
  readonly 'webhook-id': string
  /** Seconds since the epoch, of this try. */
  readonly 'webhook-timestamp': string
  readonly 'webhook-signature': string
}

/**
 * Signs a body: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`. Throws MHV_SECRET_INVALID, never with the
 * secret in its message.
 */
export function signedHeaders(secret: string, id: string, atMs: number, body: string): SignedHeaders {
  const timestamp = String(Math.floor(atMs / 1000))
  const signature = createHmac('sha256', keyOf(secret)).update(`${id}.${timestamp}.${body}`).digest('base64')
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': `v1,${signature}` }
}

function keyOf(secret: string): Buffer {
  const key = Buffer.from(SECRET.exec(secret.trim())?.[1] ?? '', 'base64')
  if (key.length >= MIN_KEY_BYTES && key.length <= MAX_KEY_BYTES) return key
  throw mhvError(
    'MHV_SECRET_INVALID',
    `the secret of a webhook must be whsec_ and ${MIN_KEY_BYTES} to ${MAX_KEY_BYTES} bytes in base64`,
    { remedy: 'Make one with: echo "whsec_$(openssl rand -base64 32)"' },
  )
}
