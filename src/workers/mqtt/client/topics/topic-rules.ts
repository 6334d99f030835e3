import type { Principal } from '../../../../core/context.ts'
import { mhvError } from '../../../../core/errors.ts'
import { matchesPattern } from '../../../../core/glob.ts'
import type { TopicRule } from '../../settings.ts'
import { coversFilter, matchesFilter, overlap } from './topics.ts'

/**
 * The policy by topic: beside the policy of operations, which decides whether somebody may publish or subscribe at all.
 * The first rule that fits decides; where there are rules and none fits, the answer is no.
 */

/** Throws MHV_MQTT_TOPIC_DENIED. */
export function allowPublish(rules: readonly TopicRule[], principal: Pick<Principal, 'id'>, topic: string): void {
  decide(rules, principal, 'publish', topic, (rule) => rule.topics.some((filter) => matchesFilter(filter, topic)))
}

/**
 * A filter is allowed where one rule allows all that it takes, and no rule before that denies some of it. Throws
 * MHV_MQTT_TOPIC_DENIED.
 */
export function allowSubscribe(rules: readonly TopicRule[], principal: Pick<Principal, 'id'>, filter: string): void {
  decide(rules, principal, 'subscribe', filter, ({ decision, topics }) =>
    topics.some((other) => (decision === 'deny' ? overlap(other, filter) : coversFilter(other, filter))),
  )
}

function decide(
  rules: readonly TopicRule[],
  principal: Pick<Principal, 'id'>,
  action: 'publish' | 'subscribe',
  topic: string,
  fits: (rule: TopicRule) => boolean,
): void {
  if (rules.length === 0) return
  const index = rules.findIndex(
    (rule) =>
      rule.actions.includes(action) &&
      rule.principals.some((pattern) => matchesPattern(pattern, principal.id)) &&
      fits(rule),
  )
  if (rules[index]?.decision === 'allow') return
  const why = index < 0 ? 'no rule allows it' : `rule ${index + 1} denies it`
  throw mhvError('MHV_MQTT_TOPIC_DENIED', `${principal.id} may not ${action} ${JSON.stringify(topic)}: ${why}`, {
    details: { action, topic, rule: index < 0 ? null : index + 1 },
  })
}
