import { z } from 'zod'
import { mhvError } from '../../../core/errors.ts'
import { defineOperation } from '../../../core/operation.ts'
import { checkFilter, matchesFilter } from '../client/topics/topics.ts'
import { type MqttContext, maySend } from '../context.ts'
import { outboxOf } from './outbox-status.ts'

const input = z.object({
  ids: z.array(z.string().min(1).max(64)).min(1).max(10_000).optional().describe('message ids'),
  topic: z.string().min(1).max(65_535).optional().describe('topic filter: every waiting message of these topics'),
  dry_run: z.boolean().default(false).describe('only counts'),
})

export const outboxDrop = defineOperation({
  id: 'mqtt.outbox_drop',
  title: 'Drop messages from the outbox',
  summary: 'Drops waiting messages of a target by their ids or by a topic filter; they are never sent again.',
  description:
    'A message that is on its way at that moment may arrive all the same; in_flight counts those. Messages of topics that ' +
    'mqtt.topic_rules do not let the caller publish to stay.',
  effect: 'destroy',
  effectOf: ({ dry_run }) => (dry_run ? 'read' : 'destroy'),
  idempotent: true,
  input,
  output: z.object({
    dropped: z.number().int().describe('messages that are gone, or would be'),
    in_flight: z.number().int().describe('of those, messages that may arrive all the same'),
  }),
  errors: ['MHV_MQTT_TOPIC_INVALID'],
  timeout: 60,
  examples: [
    { title: 'Commands for a device that is gone', target: 'site-1', input: { topic: 'mahavishnu/commands/pump-7' } },
    { title: 'How many that would be', target: 'site-1', input: { topic: 'mahavishnu/commands/#', dry_run: true } },
  ],
  async run(context: MqttContext, { ids, topic, dry_run }: z.output<typeof input>) {
    if ((ids === undefined) === (topic === undefined)) {
      throw mhvError('MHV_INPUT_INVALID', 'either ids or topic has to be given')
    }
    if (topic !== undefined) checkFilter(topic)
    const outbox = outboxOf(context)
    const wanted = new Set(ids)
    const chosen = outbox
      .held(0, Number.MAX_SAFE_INTEGER)
      .filter((held) => (topic === undefined ? wanted.has(held.id) : matchesFilter(topic, held.topic)))
      .filter((held) => maySend(context, held.topic))
    if (!dry_run) return outbox.drop(chosen.map(({ id }) => id))
    return { dropped: chosen.length, in_flight: chosen.filter(({ in_flight }) => in_flight).length }
  },
  summarize: ({ dropped, in_flight }) => ({
    output: `${dropped} ${dropped === 1 ? 'message' : 'messages'}${in_flight === 0 ? '' : `, ${in_flight} of them may arrive all the same`}`,
  }),
})
