import { identityProblem } from '../client/identity/identity.ts'
import type { IncomingMessage } from '../client/mqtt-session.ts'
import type { MqttSettings } from '../settings.ts'
import type { CommandPlan } from './command-shape.ts'
import { deviceText, fieldsOf } from './device-payload.ts'

/** Words by which a device says yes or no. */
const YES: readonly unknown[] = ['ok', 'accepted', 'acknowledged', 'done', 'success']
const NO: readonly unknown[] = ['rejected', 'refused', 'failed', 'error']

/** Why a message is no answer: not readable, from another device than its topic says, or to something else. */
export const ANSWER_PROBLEMS = ['invalid', 'impostor', 'stray'] as const
export type AnswerProblem = (typeof ANSWER_PROBLEMS)[number]

export type Answer =
  | { readonly is: 'acknowledged' | 'rejected'; readonly message: string | null }
  | { readonly is: AnswerProblem }

/**
 * Whether what came on a topic of this device is not from it. The settings of the identity say whether anybody looks, and
 * by what; the topic may be outside of the default hierarchy, so the device is given.
 */
export function isImpostor(
  message: IncomingMessage,
  device_id: string,
  { mismatch, sender_property }: MqttSettings['identity'],
): boolean {
  if (message.identity_problem !== undefined) return true
  if (mismatch === 'ignore') return false
  return identityProblem({ ...message, topic: `mahavishnu/status/${device_id}` }, sender_property) !== undefined
}

/**
 * Reads the answer of a device to a command: an empty payload, or a JSON object with `status` and `message`. What repeats
 * another command's id is stray, and so is what repeats none on a topic that does not name the command either; what cannot
 * be read is no answer. So nothing is taken for a yes that is none.
 */
export function readAnswer(
  message: IncomingMessage,
  { command_id, topics_name_it }: Pick<CommandPlan, 'command_id' | 'topics_name_it'>,
): Answer {
  const { correlation_data, payload } = message
  if (correlation_data !== undefined && Buffer.from(correlation_data).toString() !== command_id) return { is: 'stray' }
  const related = topics_name_it || correlation_data !== undefined
  if (payload.byteLength === 0) return related ? { is: 'acknowledged', message: null } : { is: 'stray' }
  const field = fieldsOf(message)
  if (field === null) return { is: 'invalid' }
  const repeated = field('command_id')
  if (repeated === undefined ? !related : repeated !== command_id) return { is: 'stray' }
  const status = field('status')
  const text = deviceText(field('message'))
  if (YES.includes(status)) return { is: 'acknowledged', message: text }
  return NO.includes(status) ? { is: 'rejected', message: text } : { is: 'invalid' }
}
