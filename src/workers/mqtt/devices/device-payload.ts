import type { IncomingMessage } from '../client/mqtt-session.ts'

/** What devices answer with is small; more is not even parsed. */
export const MAX_ANSWER_BYTES = 16_384
/** C0, DEL, C1, and what turns the direction of text round: a device shall not write on anybody's terminal. */
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g

/** A field of what a device has sent; undefined where it has none of its own. */
export type DeviceFields = (name: string) => unknown

/** The payload as a JSON object: fields by name, never by prototype. Null where it is none. */
export function fieldsOf({ payload }: Pick<IncomingMessage, 'payload'>): DeviceFields | null {
  if (payload.byteLength > MAX_ANSWER_BYTES) return null
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString('utf8'))
  } catch {
    return null
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null
  const object = value as Readonly<Record<string, unknown>>
  return (name) => (Object.hasOwn(object, name) ? object[name] : undefined)
}

/** Text of a device as it may be shown: one line, bounded. Null for what is no text. */
export function deviceText(value: unknown, most = 200): string | null {
  if (typeof value !== 'string') return null
  const cut = value.length > most ? `${value.slice(0, most)}…` : value
  return cut.toWellFormed().replace(UNSAFE, '\ufffd')
}
