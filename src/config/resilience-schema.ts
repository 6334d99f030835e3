import { z } from 'zod'
import { FULL_RULES } from '../core/admission.ts'
import type { BreakerDefaults } from '../core/worker.ts'

/** Settings that bound what is done at once, and what is done again. */

const count = (least: number, most: number) => z.number().int().min(least).max(most)

/** Limits of one level of admission. */
const admissionLimits = (maxConcurrent: number, queueSize: number) => ({
  max_concurrent: count(1, 100_000).default(maxConcurrent).describe('runs that may act at once'),
  queue_size: count(0, 1_000_000).default(queueSize).describe('runs that may wait for a slot'),
  max_queue_seconds: z
    .number()
    .min(0.1)
    .max(86_400)
    .nullable()
    .default(300)
    .describe('seconds that a run may wait for a slot; null: as long as its deadline allows'),
  rate_per_second: z
    .number()
    .min(0.001)
    .max(100_000)
    .nullable()
    .default(null)
    .describe('runs that may begin in a second, on average; null: as many as there are slots for'),
  rate_burst: count(1, 100_000).default(10).describe('runs that may begin at once under that rate'),
  full: z
    .enum(FULL_RULES)
    .default('reject_new')
    .describe(
      'when the queue is full: refuse the call, let it wait for a place, or end a waiting run of low priority for it',
    ),
})

/** Limits of a worker, of each target, or of each caller. */
export const admission = (maxConcurrent: number, queueSize: number) =>
  z.strictObject(admissionLimits(maxConcurrent, queueSize))

/** Limits of the process, and within them those of each target and each caller. */
export const processAdmission = z.strictObject({
  ...admissionLimits(200, 2_000),
  aging_seconds: z
    .number()
    .min(0.1)
    .max(86_400)
    .default(10)
    .describe('seconds after which a waiting run counts as one of the next higher priority'),
  target: admission(50, 200).prefault({}).describe('room for runs on each target'),
  principal: admission(100, 1_000).prefault({}).describe('room for runs of each caller'),
})

const seconds = (by: number) => z.number().min(0.1).max(86_400).default(by)

const DEFAULT_RETRY = {
  base_ms: 200,
  cap_ms: 10_000,
  budget: { size: 500, retry_cost: 5, timeout_cost: 10, success_return: 1 },
}

const tokens = (by: number) => z.number().min(0).max(1_000_000).default(by)

/** When the breaker of a target opens and closes; the defaults are those of its worker. */
export const circuitBreaker = (defaults: BreakerDefaults) =>
  z.strictObject({
    failure_threshold: count(1, 10_000)
      .default(defaults.failure_threshold)
      .describe('failures on one target within the window that open its breaker'),
    window_seconds: seconds(defaults.window_seconds ?? 60).describe(
      'seconds for which a call to the target counts, failed or not',
    ),
    minimum_calls: count(1, 10_000)
      .default(defaults.minimum_calls ?? 1)
      .describe('calls within the window before the breaker may open, whatever became of them'),
    failure_ratio: z
      .number()
      .min(0)
      .max(1)
      .default(defaults.failure_ratio ?? 0.5)
      .describe('smallest part of the calls within the window that must have failed; 0 if only their number counts'),
    recovery_timeout: seconds(defaults.recovery_timeout).describe(
      'seconds that an open breaker holds calls back before it lets some through',
    ),
    half_open_max_calls: count(1, 1_000)
      .default(defaults.half_open_max_calls)
      .describe('calls let through at once to see whether the target is back'),
    success_threshold: count(1, 1_000)
      .default(defaults.success_threshold ?? 1)
      .describe('successes among those that close the breaker'),
  })

/** Waits between attempts, and what bounds retries. */
export const retry = () =>
  z.strictObject({
    base_ms: z
      .number()
      .min(0)
      .max(3_600_000)
      .default(DEFAULT_RETRY.base_ms)
      .describe(
        'longest wait before the second attempt, in milliseconds; it doubles with each, and is drawn from 0 to it',
      ),
    cap_ms: z
      .number()
      .min(0)
      .max(3_600_000)
      .default(DEFAULT_RETRY.cap_ms)
      .describe('longest wait before any attempt, in milliseconds, beside what the target asks for'),
    budget: z
      .strictObject({
        size: tokens(DEFAULT_RETRY.budget.size).describe('tokens that one target has for retries; 0 for no retries'),
        retry_cost: tokens(DEFAULT_RETRY.budget.retry_cost).describe('tokens that a retry takes'),
        timeout_cost: tokens(DEFAULT_RETRY.budget.timeout_cost).describe('tokens that a retry after a timeout takes'),
        success_return: tokens(DEFAULT_RETRY.budget.success_return).describe('tokens that a success gives back'),
      })
      .prefault({})
      .describe('bounds the retries of all runs on one target together'),
  })
