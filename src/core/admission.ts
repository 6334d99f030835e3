/** What happens to a call when the queue of a limit is full. Declared here: the settings and admission both have it. */
export const FULL_RULES = ['reject_new', 'wait', 'shed_low'] as const
export type FullRule = (typeof FULL_RULES)[number]
