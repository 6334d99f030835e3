import type { Clock } from '../../../core/clock.ts'
import type { Logger, WorkerRecords } from '../../../core/context.ts'
import { MAX_RECORD_BYTES, type NewRecord } from '../../../core/records.ts'
import { deviceOf } from '../client/device-topic.ts'
import { type IncomingMessage, MESSAGE_ID_PROPERTY } from '../client/mqtt-session.ts'

/** Stream of records with the messages of a target. */
export function messageStream(target: string): string {
  return `messages/${target}`
}

/** Messages of QoS 0 that may wait to be written; whoever brings more waits. */
const MAX_WAITING = 1_000
/** They wait so long for company, in milliseconds. */
const LINGER_MS = 50

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
  /** Told of messages that could not be written. */
  readonly onLost: (messages: number) => void
}): Recorder {
  const { target, records, clock, log } = parts
  const stream = messageStream(target)
  let waiting: NewRecord[] = []
  let writing: Promise<void> | undefined
  let cancel: (() => void) | undefined

  async function write(): Promise<void> {
    while (waiting.length > 0) {
      const group = waiting
      waiting = []
      try {
        await records.append(stream, group)
      } catch (error) {
        // Nobody sends QoS 0 again.
        parts.onLost(group.length)
        log.error('messages of standing subscriptions could not be written', { target, messages: group.length, error })
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
      if (message.qos > 0) return records.append(stream, [record])
      waiting.push(record)
      if (waiting.length >= MAX_WAITING) return begin()
      if (writing === undefined) cancel ??= clock.after(LINGER_MS, () => void begin())
      return undefined
    },
    async close() {
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
