import { z } from 'zod'
import { filterProblem, MAX_STRING_BYTES } from './topics.ts'

/**
 * A topic filter in the settings. One that is none (`secret#`, `a/#/b`) would fit nothing, or more than was meant: a rule that
 * denies nothing, a subscription that no broker takes.
 */
export function topicFilter() {
  return z
    .string()
    .min(1)
    .max(MAX_STRING_BYTES)
    .check((ctx) => {
      const problem = filterProblem(ctx.value)
      if (problem === undefined) return
      ctx.issues.push({ code: 'custom', input: ctx.value, message: `is no topic filter: it ${problem}` })
    })
}
