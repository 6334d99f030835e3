import type { Clock } from '../../../core/clock.ts'
import type { Logger, WorkerRecords } from '../../../core/context.ts'
import { mhvError, toMhvError } from '../../../core/errors.ts'
import { MAX_RECORD_BYTES, type NewRecord } from '../../../core/records.ts'
import { deviceOf } from '../client/identity/device-topic.ts'
import { type IncomingMessage, MESSAGE_ID_PROPERTY } from '../client/mqtt-session.ts'

/** Stream of records with the messages of a target. */
export function messageStream(target: string): string {
  return `messages/${target}`
}

/** Messages of QoS 0 that may wait to be written; whoever brings more waits. */
const MAX_WAITING = 1_000
const MAX_WAITING_BYTES = 8 * 1_048_576
/** They wait so long for company, in milliseconds. */
const LINGER_MS = 50
/** Times that a message is tried again which the journal refuses for another reason than its own state. */
const MAX_DEFECTS = 10
/** Pause before a message of QoS 1 or 2 is written once more, in milliseconds. */
const RETRY_MS = 1_000

export interface Recorder {
  /**
   * Keeps a message. Fulfilled when it is on disk, for QoS 1 and 2, so that it is acknowledged only then; those of QoS 0
   * are written in groups, and waited for only where there are too many.
   */
  keep(subscription: string, message: IncomingMessage): void | Promise<void>
  close(): Promise<void>
}

export function createRecorder(parts: {
  readonly target: string
  readonly records: WorkerRecords
  readonly clock: Clock
  readonly log: Logger
  /** Told of messages that are on disk. */
  readonly onKept: (messages: number) => void
  /** Told of messages that could not be written, and that nobody sends again. */
  readonly onLost: (messages: number) => void
}): Recorder {
  const { target, records, clock, log } = parts
  const stream = messageStream(target)
  let waiting: NewRecord[] = []
  let waitingBytes = 0
  let writing: Promise<void> | undefined
  let cancel: (() => void) | undefined
  const closing = new AbortController()

  async function write(): Promise<void> {
    while (waiting.length > 0) {
      const group = waiting
      waiting = []
      waitingBytes = 0
      try {
        await records.append(stream, group)
        parts.onKept(group.length)
      } catch (error) {
        // Nobody sends QoS 0 again.
        parts.onLost(group.length)
        log.error('messages of standing subscriptions could not be written', { target, messages: group.length, error })
      }
    }
  }

  /**
   * The broker has it until then, and holds back the rest. To give it up would end the subscription, and the broker would
   * send it again to nobody. Only what no journal ever takes is given up: it would hold back the rest for ever.
   */
  async function insist(record: NewRecord): Promise<void> {
    for (let failures = 0; ; failures += 1) {
      try {
        await records.append(stream, [record])
        parts.onKept(1)
        return
      } catch (error) {
        if (closing.signal.aborted) throw error
        const { code, message } = toMhvError(error)
        const fields = { target, topic: record.key, error_code: code, message }
        if (code === 'MHV_INTERNAL' && failures >= MAX_DEFECTS) {
          parts.onLost(1)
          log.error('a message of a standing subscription cannot be kept and is given up', fields)
          return
        }
        if (failures === 0)
          log.error('a message of a standing subscription could not be written and is tried again', fields)
        await clock.sleep(RETRY_MS, closing.signal)
      }
    }
  }

  function begin(): Promise<void> {
    cancel?.()
    cancel = undefined
    writing ??= write().finally(() => {
      writing = undefined
    })
    return writing
  }

  return {
    keep(subscription, message) {
      const record = recordOf(subscription, message)
      if (message.qos > 0) return insist(record)
      // A payload is a view of all that was read at once, which it would keep alive.
      waiting.push({ ...record, payload: Buffer.from(record.payload) })
      waitingBytes += record.payload.byteLength + record.key.length
      if (waiting.length >= MAX_WAITING || waitingBytes >= MAX_WAITING_BYTES) return begin()
      if (writing === undefined) cancel ??= clock.after(LINGER_MS, () => void begin())
      return undefined
    },
    async close() {
      closing.abort(mhvError('MHV_SHUTTING_DOWN', 'Mahavishnu is stopping'))
      await begin()
    },
  }
}

function recordOf(subscription: string, message: IncomingMessage): NewRecord {
  const {
    topic,
    payload,
    qos,
    retain,
    duplicate,
    endpoint,
    received_at,
    content_type,
    user_properties,
    identity_problem,
  } = message
  const cut = payload.byteLength > MAX_RECORD_BYTES
  const id = user_properties?.[MESSAGE_ID_PROPERTY]
  return {
    key: topic,
    at: received_at,
    payload: cut ? payload.subarray(0, MAX_RECORD_BYTES) : payload,
    meta: {
      subscription,
      device: deviceOf(topic),
      qos,
      retain,
      duplicate,
      endpoint,
      bytes: payload.byteLength,
      ...(content_type === undefined ? {} : { content_type }),
      ...(id === undefined ? {} : { message_id: id }),
      ...(identity_problem === undefined ? {} : { identity_problem }),
    },
  }
}
