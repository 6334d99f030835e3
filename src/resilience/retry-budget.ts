/** Tokens: what the bucket holds when full, what a retry takes, and what a success gives back. */
export interface RetryBudgetLimits {
  readonly size: number
  readonly retry_cost: number
  /** After a failure to answer in time, which costs the target more than a refusal. */
  readonly timeout_cost: number
  readonly success_return: number
}

export interface RetryBudget {
  left(): number
  /** Takes what a retry costs; false when that is more than is left, and then nothing is taken. */
  take(afterTimeout: boolean): boolean
  success(): void
}

/**
 * A bucket of tokens: while nothing succeeds, the retries of all calls together are at most `size / retry_cost`, so that
 * those who retry do not keep down a target that is down. Time alone gives nothing back: only the target can show that
 * it is well. Source: the standard retry mode of the AWS SDKs (500 tokens; 5 for a retry, 10 after a timeout).
 */
export function createRetryBudget(limits: RetryBudgetLimits): RetryBudget {
  let tokens = limits.size
  return {
    left: () => tokens,
    take(afterTimeout) {
      const cost = afterTimeout ? limits.timeout_cost : limits.retry_cost
      if (tokens < cost) return false
      tokens -= cost
      return true
    },
    success() {
      tokens = Math.min(limits.size, tokens + limits.success_return)
    },
  }
}

/** Budgets that are remembered; beyond that, the full ones are forgotten. */
const MAX_BUDGETS = 10_000

/** The budgets of all targets, made on first use. */
export interface RetryBudgets {
  of(worker: string, target: string | null, limits: RetryBudgetLimits): RetryBudget
}

export function createRetryBudgets(): RetryBudgets {
  const budgets = new Map<string, { readonly budget: RetryBudget; readonly size: number }>()

  function forgetFull(): void {
    for (const [key, { budget, size }] of budgets) if (budget.left() >= size) budgets.delete(key)
  }

  return {
    of(worker, target, limits) {
      const key = `${worker}:${target ?? ''}`
      let known = budgets.get(key)
      if (known === undefined) {
        if (budgets.size >= MAX_BUDGETS) forgetFull()
        known = { budget: createRetryBudget(limits), size: limits.size }
        budgets.set(key, known)
      }
      return known.budget
    },
  }
}
