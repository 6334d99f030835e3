import type { Clock } from '../../core/clock.ts'
import { mhvError } from '../../core/errors.ts'
import { decide, type Policy, type PolicyAnswer, type PolicyQuestion, ruleToAdd } from '../../governance/policy.ts'
import type { Store } from '../../store/store.ts'

/** Step 3. What is not allowed goes to the audit trail and is refused with the rule that would allow it. */
export async function authorise(
  parts: {
    readonly policy: Policy
    /** Null in a process that only reads the journal: then a denial is told, but cannot be written down. */
    readonly store: Pick<Store, 'appendAudit'> | null
    readonly clock: Clock
  },
  question: PolicyQuestion,
): Promise<PolicyAnswer> {
  const answer = decide(parts.policy, question)
  if (answer.decision === 'allow') return answer
  await parts.store?.appendAudit({
    at: parts.clock.now(),
    principal: question.principal.id,
    action: question.operation,
    target: question.target?.name ?? null,
    decision: answer.decision,
    rule: answer.rule?.id ?? null,
    run_id: null,
    details: { effect: question.effect, tier: question.target?.tier ?? null, policy: parts.policy.name },
  })
  throw refusal(parts.policy, question, answer)
}

function refusal(policy: Policy, question: PolicyQuestion, { decision, rule }: PolicyAnswer) {
  const where = question.target ? ` on ${question.target.name} (tier ${question.target.tier})` : ''
  const what = `${question.principal.id} may not ${question.effect} with ${question.operation}${where}`
  const file = policy.file ?? 'the policy file'
  const toAdd = ruleToAdd(question)
  const details = { rule: rule?.id ?? null, policy: policy.name, rule_to_add: toAdd }

  if (rule !== null && decision === 'deny') {
    return mhvError('MHV_POLICY_DENIED', `${what}: rule "${rule.id}" of policy "${policy.name}" denies it`, {
      details,
      remedy: `A deny wins over every allow: narrow or remove rule "${rule.id}" in ${file}, then add under "rules:"\n${toAdd}`,
    })
  }
  const remedy = `If it should be allowed, put this first under "rules:" in ${file}:\n${toAdd}`
  if (rule !== null) {
    return mhvError('MHV_APPROVAL_REQUIRED', `${what} without an approval: rule "${rule.id}" asks for one`, {
      details,
      remedy,
    })
  }
  const why = policy.rules.length === 0 ? 'there is no policy, so nothing is allowed' : 'no rule allows it'
  return mhvError('MHV_POLICY_DENIED', `${what}: ${why}`, { details, remedy })
}
