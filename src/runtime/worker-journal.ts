import type { WorkerRecords, WorkerState } from '../core/context.ts'
import { mhvError } from '../core/errors.ts'
import { MAX_RECORD_BYTES, type NewRecord } from '../core/records.ts'
import type { Redactor } from '../governance/redaction.ts'
import type { Store } from '../store/store.ts'

interface Parts {
  readonly store: Store
  readonly redactor: Redactor
}

/** The worker's part of the journal. What has a secret in it is refused: masked, it would come back as something else. */
export function stateOf({ store, redactor }: Parts, worker: string): WorkerState {
  function refuseSecrets(value: unknown): void {
    if (redactor.finds(value)) throw mhvError('MHV_INTERNAL', `worker ${worker} would store a secret in its state`)
  }
  return {
    get: (key) => store.stateGet(worker, key),
    async set(key, value) {
      refuseSecrets([key, value])
      await store.stateSet(worker, key, value)
    },
    delete: (key) => store.stateDelete(worker, key),
    async apply(changes) {
      refuseSecrets(changes.set ?? [])
      await store.stateApply(worker, changes)
    },
    list: (prefix) => store.stateList(worker, prefix),
  }
}

/** The worker's records. Unlike its state they are for people to read: a secret in them is masked. */
export function recordsOf({ store, redactor }: Parts, worker: string): WorkerRecords {
  function masked({ key, at, payload, meta }: NewRecord): NewRecord {
    const stream = redactor.stream()
    const [head, tail] = [stream.push(payload), stream.end()]
    const bytes = tail.byteLength === 0 ? head : Buffer.concat([head, tail])
    // What stands in the place of a secret may be longer; what it was given was not too long.
    const most = Math.max(payload.byteLength, MAX_RECORD_BYTES)
    return { key: redactor.text(key), at, payload: bytes.subarray(0, most), meta: redactor.deep(meta) }
  }
  return {
    append: (stream, records) => store.appendRecords(worker, stream, records.map(masked)),
    query: (query) => store.listRecords(worker, query),
    retain: (stream, limits) => store.retainRecords(worker, stream, limits),
    stats: (stream) => store.recordStats(worker, stream),
  }
}
