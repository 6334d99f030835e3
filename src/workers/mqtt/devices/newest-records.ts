import type { StoredRecord } from '../../../core/records.ts'
import { type MqttContext, mayReceive } from '../context.ts'
import { messageStream } from '../standing/recorder.ts'
import { deviceTopics, STATUS_TOPIC } from './device-topics.ts'

/** Records of one question, and questions until one is found that is from the device itself. */
const PAGE = 100
const MOST_PAGES = 20

export interface DeviceRecords {
  /** The newest record of the topic of its status. */
  readonly status: StoredRecord | undefined
  /** When the newest record of any of its topics came, in milliseconds since the epoch. */
  readonly at: number | undefined
}

/** What standing subscriptions have kept of devices; of topics that the caller may receive, and not from impostors. */
export async function newestRecords(
  ctx: MqttContext,
  device_ids: readonly string[],
): Promise<ReadonlyMap<string, DeviceRecords>> {
  const { records, target, signal } = ctx
  const stream = messageStream(target?.name ?? '')
  const found = new Map<string, DeviceRecords>()
  if ((await records.stats(stream)).count === 0) return found

  async function newest(which: { key: string } | { key_prefix: string }): Promise<StoredRecord | undefined> {
    let before: StoredRecord | undefined
    for (let page = 0; page < MOST_PAGES; page++) {
      signal.throwIfAborted()
      const list = await records.query({ stream, limit: PAGE, ...which, ...(before === undefined ? {} : { before }) })
      const good = list.find(({ meta }) => meta.identity_problem === undefined)
      if (good !== undefined || list.length < PAGE) return good
      before = list.at(-1)
    }
    return undefined
  }

  const topics = deviceTopics(STATUS_TOPIC)
  for (const id of device_ids) {
    const status = await newest({ key: topics.topicOf(id) })
    const others: (StoredRecord | undefined)[] = []
    for (const key_prefix of [`sensors/${id}/`, `gateways/${id}/`]) {
      if (mayReceive(ctx, `${key_prefix}#`)) others.push(await newest({ key_prefix }))
    }
    const times = [status, ...others].flatMap((record) => record?.at ?? [])
    found.set(id, { status, at: times.length === 0 ? undefined : Math.max(...times) })
  }
  return found
}
