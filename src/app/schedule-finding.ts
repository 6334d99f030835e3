import type { Schedule } from '../config/schedules.ts'
import { narrower } from '../core/operation.ts'
import type { Registry } from '../core/registry.ts'
import { decide, type PolicyQuestion, ruleToAdd } from '../governance/policy.ts'
import { loadPolicy } from '../governance/policy-file.ts'
import { schedulePrincipal } from '../runtime/schedule-call.ts'
import { questionsOf } from '../runtime/steps/authorise.ts'
import type { Finding } from '../surfaces/cli/doctor.ts'
import type { InstanceSetting } from './setting.ts'

const CHECK = 'schedules'

/** Whether the policy allows what the schedules do: better told now than when the time comes. */
export async function schedulesFinding(registry: Registry, setting: InstanceSetting): Promise<Finding> {
  const { list } = setting.schedules
  const ok: Finding = { check: CHECK, level: 'ok', message: `${list.length} schedules` }
  // A policy that cannot be read is a finding of its own.
  const policy = await loadPolicy(setting.policyFile).catch(() => null)
  if (policy === null) return ok
  const questions = list.flatMap((schedule) => questionsFor(registry, setting, schedule))
  const refused = questions.filter((question) => decide(policy, question).decision !== 'allow')
  const [first] = refused
  if (first === undefined) return ok
  const names = [...new Set(refused.map(({ principal }) => principal.id))].join(', ')
  const fix = `If they should be allowed, put rules under "rules:" in ${setting.policyFile}, such as\n${ruleToAdd(first)}`
  return { check: CHECK, level: 'warn', message: `the policy does not allow what they do: ${names}`, fix }
}

function questionsFor(
  registry: Registry,
  { inventory }: InstanceSetting,
  schedule: Schedule,
): readonly PolicyQuestion[] {
  const operation = registry.operation(schedule.operation)
  const { spec, worker } = operation
  const input = spec.input.parse(schedule.input)
  return questionsOf(operation, input, {
    principal: schedulePrincipal(schedule.name),
    effect: spec.effectOf === undefined ? spec.effect : narrower(spec.effect, spec.effectOf(input)),
    target: schedule.target === null ? null : inventory.resolve(schedule.target, worker.name).target,
  })
}
