import { mhvError } from './errors.ts'

/** Bytes that the payload of one record may have. */
export const MAX_RECORD_BYTES = 65_536

/** What a worker keeps of something that happened: bytes with a time. Never changed afterwards. */
export interface NewRecord {
  /** What it is about: a topic, a device. Queries select by its beginning. */
  readonly key: string
  /** When it happened, in milliseconds since the epoch. */
  readonly at: number
  /** At most MAX_RECORD_BYTES. */
  readonly payload: Uint8Array
  /** JSON: what is known beside the payload. */
  readonly meta: Readonly<Record<string, unknown>>
}

export interface StoredRecord extends NewRecord {
  /** Rises with every record, over all workers and streams; never used twice. */
  readonly id: number
}

/** The place of a record in its stream. */
export interface RecordPlace {
  readonly at: number
  readonly id: number
}

export interface RecordQuery {
  readonly stream: string
  /** Only records of exactly this key. */
  readonly key?: string
  /** Only records whose key begins with it. */
  readonly key_prefix?: string
  /** `at` at or after, and before. */
  readonly since?: number
  readonly until?: number
  /** Newest first, by `at` and then by `id`. At most 1,000. */
  readonly limit: number
  /** Only records before this place: the last of the page before. */
  readonly before?: RecordPlace
}

/** What of a stream is to go: everything that is older, and the oldest beyond a number of bytes. */
export interface RecordLimits {
  /** Removes records whose `at` is before this. */
  readonly before?: number
  /** Bytes that may stay: payloads, keys and meta. */
  readonly max_bytes?: number
}

export interface RecordStats {
  readonly count: number
  readonly bytes: number
  /** `at` of the oldest; null where there is none. */
  readonly oldest_at: number | null
}

/** @throws MHV_INTERNAL for a payload that is too long: the worker has to cut it, and say so in `meta` */
export function checkRecord({ key, payload }: NewRecord): void {
  if (payload.byteLength <= MAX_RECORD_BYTES) return
  const message = `a record of ${payload.byteLength} bytes for ${key.slice(0, 200)}; at most ${MAX_RECORD_BYTES} are kept`
  throw mhvError('MHV_INTERNAL', message)
}
