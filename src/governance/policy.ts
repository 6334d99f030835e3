import { createHash } from 'node:crypto'
import type { Principal, ResolvedTarget, Tier } from '../core/context.ts'
import { matchesPattern } from '../core/glob.ts'
import type { Effect } from '../core/operation.ts'

export const DECISIONS = ['allow', 'deny', 'approve'] as const
export type Decision = (typeof DECISIONS)[number]

/** One rule of a policy. An absent field matches everything; names are matched with `*`, `?` and `\\`. */
export interface PolicyRule {
  readonly id: string
  readonly decision: Decision
  readonly principals?: readonly string[] | undefined
  readonly workers?: readonly string[] | undefined
  readonly operations?: readonly string[] | undefined
  readonly targets?: readonly string[] | undefined
  readonly tags?: readonly string[] | undefined
  readonly tiers?: readonly Tier[] | undefined
  readonly effects?: readonly Effect[] | undefined
}

export interface Policy {
  readonly name: string
  /** Where it was read, for messages; null when there is none. */
  readonly file: string | null
  readonly rules: readonly PolicyRule[]
}

/** What is asked: may this principal do this, here, with at most this effect? */
export interface PolicyQuestion {
  readonly principal: Principal
  readonly worker: string
  /** Operation id, or the name of a control call. */
  readonly operation: string
  readonly effect: Effect
  readonly target: Pick<ResolvedTarget, 'name' | 'tier' | 'tags'> | null
}

export interface PolicyAnswer {
  readonly decision: Decision
  /** The rule that decided; null where none matched, which is a denial. */
  readonly rule: PolicyRule | null
}

/** Without a policy nothing is allowed. */
export const NO_POLICY: Policy = Object.freeze({ name: 'none', file: null, rules: [] })

/**
 * Decides: a matching `deny` wins wherever it stands; otherwise the first matching rule; where none matches, denied.
 * What acts on no target counts as tier `prod`, as an unknown tier does.
 */
export function decide(policy: Policy, question: PolicyQuestion): PolicyAnswer {
  let first: PolicyRule | null = null
  for (const rule of policy.rules) {
    if (!matches(rule, question)) continue
    if (rule.decision === 'deny') return { decision: 'deny', rule }
    first ??= rule
  }
  return first === null ? { decision: 'deny', rule: null } : { decision: first.decision, rule: first }
}

/** The answer to several questions together: the first that is not allowed, else the first. There is at least one. */
export function decideAll(policy: Policy, questions: readonly PolicyQuestion[]): PolicyAnswer {
  const answers = questions.map((question) => decide(policy, question))
  return answers.find(({ decision }) => decision !== 'allow') ?? (answers[0] as PolicyAnswer)
}

function matches(rule: PolicyRule, question: PolicyQuestion): boolean {
  const { target } = question
  return (
    anyGlob(rule.principals, question.principal.id) &&
    anyGlob(rule.workers, question.worker) &&
    anyGlob(rule.operations, question.operation) &&
    (rule.effects === undefined || rule.effects.includes(question.effect)) &&
    (rule.tiers === undefined || rule.tiers.includes(target?.tier ?? 'prod')) &&
    (rule.targets === undefined || (target !== null && anyGlob(rule.targets, target.name))) &&
    (rule.tags === undefined || (target !== null && rule.tags.some((tag) => target.tags.includes(tag))))
  )
}

function anyGlob(patterns: readonly string[] | undefined, name: string): boolean {
  return patterns === undefined || patterns.some((pattern) => matchesPattern(pattern, name))
}

/** The pattern that matches this name and no other. */
function patternOf(name: string): string {
  return name.replace(/[\\*?]/g, '\\$&')
}

/** A text in double quotes, as YAML and JSON have it, with nothing in it that does not show. */
function quoted(text: string): string {
  return JSON.stringify(text).replace(/[^ \P{C}]|[^ \P{Z}]/gu, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  )
}

/** The rule that would allow exactly this question, as YAML to paste under `rules:`. */
export function ruleToAdd(question: PolicyQuestion): string {
  const { principal, worker, operation, effect, target } = question
  const lines = [
    `  - id: ${idOf(question)}`,
    '    decision: allow',
    `    principals: [${quoted(patternOf(principal.id))}]`,
    `    operations: [${quoted(patternOf(operation))}]`,
    `    effects: [${effect}]`,
  ]
  // Control calls are asked for by the worker of the run that they are about.
  if (!operation.startsWith(`${worker}.`)) lines.push(`    workers: [${quoted(patternOf(worker))}]`)
  if (target) lines.push(`    targets: [${quoted(patternOf(target.name))}]`)
  return lines.join('\n')
}

/** Readable, and different for different questions: two rules of one id are refused. */
function idOf({ principal, worker, operation, effect, target }: PolicyQuestion): string {
  const words = ['allow', operation, target?.name ?? ''].map((word) => word.replace(/[^a-z0-9]+/gi, '-').slice(0, 60))
  const whole = JSON.stringify([principal.id, worker, operation, effect, target?.name ?? null])
  const digest = createHash('sha256').update(whole).digest('hex').slice(0, 8)
  return [...words, digest].join('-').replace(/-+/g, '-')
}
