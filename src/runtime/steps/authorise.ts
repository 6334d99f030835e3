import type { Clock } from '../../core/clock.ts'
import { mhvError } from '../../core/errors.ts'
import type { RegisteredOperation } from '../../core/registry.ts'
import {
  decide,
  NO_POLICY,
  type Policy,
  type PolicyAnswer,
  type PolicyQuestion,
  type PolicyRule,
  ruleToAdd,
} from '../../governance/policy.ts'
import { POLICY_FORMAT } from '../../governance/policy-file.ts'
import type { Store } from '../../store/store.ts'

/** What the policy is asked about one call: its operation, and those whose work it does as well. */
export function questionsOf(
  operation: RegisteredOperation,
  input: unknown,
  about: Pick<PolicyQuestion, 'principal' | 'effect' | 'target'>,
): readonly PolicyQuestion[] {
  const ids = [operation.id, ...(operation.spec.includes?.(input as never) ?? [])]
  return ids.map((id) => ({ ...about, worker: id.slice(0, id.indexOf('.')), operation: id }))
}

/** Asks all of them, in their order; the answer to the first. */
export async function authoriseAll(
  parts: Parameters<typeof authorise>[0],
  questions: readonly PolicyQuestion[],
): Promise<PolicyAnswer> {
  const answers: PolicyAnswer[] = []
  for (const question of questions) answers.push(await authorise(parts, question))
  return answers[0] as PolicyAnswer
}

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

/** The same for a call about runs and workers, in whatever process it is made. */
export function authoriseCall(
  parts: {
    readonly policy: Policy
    readonly store: Store
    readonly clock: Clock
    /** Null in a process that only reads the journal. */
    readonly runtime: object | null
  },
  question: PolicyQuestion,
): Promise<PolicyAnswer> {
  return authorise({ ...parts, store: parts.runtime === null ? null : parts.store }, question)
}

function refusal(policy: Policy, question: PolicyQuestion, { decision, rule }: PolicyAnswer) {
  const where = question.target ? ` on ${question.target.name} (tier ${question.target.tier})` : ''
  const what = `${question.principal.id} may not ${question.effect} with ${question.operation}${where}`
  const toAdd = ruleToAdd(question)
  const options = {
    details: { rule: rule?.id ?? null, policy: policy.name, rule_to_add: toAdd },
    remedy: remedyFor(policy, decision === 'deny' ? rule : null, toAdd),
  }
  if (rule === null) {
    const why = isAbsent(policy) ? 'there is no policy, so nothing is allowed' : 'no rule allows it'
    return mhvError('MHV_POLICY_DENIED', `${what}: ${why}`, options)
  }
  const which = `rule "${rule.id}" of policy "${policy.name}"`
  return decision === 'deny'
    ? mhvError('MHV_POLICY_DENIED', `${what}: ${which} denies it`, options)
    : mhvError('MHV_APPROVAL_REQUIRED', `${what} without an approval: ${which} asks for one`, options)
}

function isAbsent(policy: Policy): boolean {
  return policy.rules === NO_POLICY.rules
}

function remedyFor(policy: Policy, denying: PolicyRule | null, toAdd: string): string {
  const file = policy.file ?? 'the policy file'
  if (denying !== null) {
    return `A deny wins over every allow: narrow or remove rule "${denying.id}" in ${file}, then add under "rules:"\n${toAdd}`
  }
  if (isAbsent(policy)) {
    return `If it should be allowed, write a policy to ${file}:\nversion: ${POLICY_FORMAT}\nname: own\nrules:\n${toAdd}`
  }
  return `If it should be allowed, put this first under "rules:" in ${file}:\n${toAdd}`
}
