import { z } from 'zod'
import { mhvError } from '../../../core/errors.ts'
import { defineOperation } from '../../../core/operation.ts'
import { type MqttContext, sessionOf } from '../context.ts'
import type { Outbox } from './outbox.ts'

/** The outbox of the call's target, read from disk where nothing has used it yet. */
export function outboxOf({ connection, target, settings }: MqttContext): Outbox {
  if (target === null) throw mhvError('MHV_TARGET_REQUIRED', 'an outbox belongs to a target')
  return connection.outboxes.of(target.name, { target: target.address, settings })
}

const count = (what: string) => z.number().int().min(0).describe(what)

export const outboxStatus = defineOperation({
  id: 'mqtt.outbox_status',
  title: 'State of the outbox',
  summary: 'Counts what waits in the outbox of a target, and what became of everything that was ever accepted.',
  description:
    'accepted = delivered + refused + expired + dropped + removed + waiting, over every restart. Messages that were ' +
    'rejected for lack of room were never accepted.',
  effect: 'read',
  idempotent: true,
  input: z.object({}),
  output: z.object({
    connected: z.boolean(),
    broker: z.string().nullable().describe('broker in use'),
    waiting: count('messages on disk without an outcome'),
    in_flight: count('of those, sent and not acknowledged yet'),
    replaying: count('of those, waiting since the connection was lost'),
    bytes: count('bytes of the waiting messages'),
    max_size: count('messages that may wait'),
    max_bytes: count('bytes that may wait'),
    oldest_seconds: z.number().nullable().describe('age of the oldest; null where nothing waits'),
    resent: count('repeated sends since start'),
    accepted: count('accepted, ever'),
    delivered: count('acknowledged by a broker'),
    refused: count('refused by a broker for good'),
    expired: count('expired before they could be sent'),
    dropped: count('given up for newer ones'),
    removed: count('dropped by an operator'),
    rejected: count('not accepted: no room'),
  }),
  errors: [],
  timeout: 30,
  examples: [{ title: 'What waits for a site', target: 'site-1', input: {} }],
  async run(context: MqttContext) {
    const { oldest_at, ...status } = outboxOf(context).status()
    const session = sessionOf(context)
    const age = oldest_at === null ? null : Math.max(0, context.clock.now() - oldest_at) / 1000
    return { ...status, oldest_seconds: age, connected: session.state() === 'connected', broker: session.endpoint() }
  },
  summarize: ({ waiting, max_size, bytes, in_flight, oldest_seconds, broker, ...ever }) => {
    const oldest = oldest_seconds === null ? '' : `, the oldest ${Math.round(oldest_seconds)} s old`
    const { accepted, delivered, refused, expired, dropped, removed, rejected } = ever
    const lines = [
      `${waiting} of ${max_size} messages wait (${bytes} bytes), ${in_flight} of them on their way${oldest}`,
      `${accepted} accepted: ${delivered} delivered, ${refused} refused, ${expired} expired, ${dropped} dropped, ${removed} removed`,
      `${rejected} rejected for lack of room`,
      broker === null ? 'not connected' : `connected to ${broker}`,
    ]
    return { output: lines.join('\n') }
  },
})
