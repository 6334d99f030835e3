import { z } from 'zod'
import { isoTime } from '../core/clock.ts'
import { ERROR_CODES } from '../core/error-table.ts'
import { mhvError } from '../core/errors.ts'
import { EFFECTS } from '../core/operation.ts'
import { anyResultSchema } from '../core/result.ts'
import { EFFECT_CERTAINTIES } from '../core/run-status.ts'
import { DEAD_LETTER_STATES, type DeadLetter, REPLAY_POLICIES } from '../store/dead-letter.ts'
import type { ControlCall, ControlParts } from './control.ts'
import { findDeadLetter } from './dead-letters.ts'
import { control } from './define-control.ts'
import { toResult } from './to-result.ts'

/** The dead letters as people and agents see and handle them. */

const EXAMPLE_LETTER = '01K5E2W9QZ3V7M4T8N6R1XJYHC'
const letterId = z.string().max(100).describe('ULID of the dead letter')
const states = DEAD_LETTER_STATES

/** A dead letter as surfaces show it. */
export const deadLetterSchema = z.object({
  letter_id: z.string(),
  run_id: z.string().describe('the run that failed'),
  worker: z.string(),
  operation: z.string(),
  target: z.string().nullable(),
  principal: z.string().describe('who asked for the run'),
  error_code: z.enum(ERROR_CODES).nullable().describe('of the last failure'),
  error: z.string().nullable(),
  effect: z.enum(EFFECTS),
  effect_certainty: z.enum(EFFECT_CERTAINTIES).describe('of the run and of its replays together'),
  state: z.enum(states),
  replays: z.number().int().describe('replays that were begun'),
  max_replays: z.number().int(),
  policy: z.enum(REPLAY_POLICIES),
  next_at: z.string().nullable().describe('when it is replayed by itself'),
  last_run_id: z.string().nullable().describe('run of the last replay'),
  created_at: z.string(),
  updated_at: z.string(),
})

type ShownLetter = z.output<typeof deadLetterSchema>

function shown({ id, bytes: _bytes, next_at, created_at, updated_at, ...letter }: DeadLetter): ShownLetter {
  return {
    letter_id: id,
    ...letter,
    next_at: next_at === null ? null : isoTime(next_at),
    created_at: isoTime(created_at),
    updated_at: isoTime(updated_at),
  }
}

const dlqList = control({
  name: 'dlq_list',
  cli: ['dlq', 'list'],
  title: 'List dead letters',
  summary: 'Lists runs that failed for good and were kept, newest first, by state, worker, operation and target.',
  effect: 'read',
  needsRuntime: false,
  input: z.object({
    state: z.enum(states).optional().describe('what has become of it'),
    worker: z.string().optional().describe('name of the worker'),
    operation: z.string().optional().describe('id of the operation, worker.verb'),
    on: z.string().optional().describe('name of the target'),
    limit: z.number().int().min(1).max(200).default(20).describe('most letters of one answer'),
    before: z.string().optional().describe('only letters before this one: next of the answer before'),
  }),
  output: z.object({ letters: z.array(deadLetterSchema), next: z.string().nullable() }),
  example: { state: 'open', limit: 5 },
  async run({ store }, { state, on, limit, ...rest }) {
    const letters = await store.listDeadLetters({
      ...rest,
      limit,
      ...(state === undefined ? {} : { state: [state] }),
      ...(on === undefined ? {} : { target: on }),
    })
    return { letters: letters.map(shown), next: letters.length === limit ? (letters.at(-1)?.id ?? null) : null }
  },
})

const dlqShow = control({
  name: 'dlq_show',
  cli: ['dlq', 'show'],
  title: 'Show a dead letter',
  summary: 'Shows one dead letter: the run that failed with its input, its replays, and what a replay would need.',
  effect: 'read',
  needsRuntime: false,
  input: z.object({ letter_id: letterId }),
  output: z.object({
    letter: deadLetterSchema,
    run: anyResultSchema.nullable().describe('the run that failed'),
    input: z.unknown().describe('what it would be called with again'),
    last_run: anyResultSchema.nullable().describe('the last replay'),
  }),
  argument: 'letter_id',
  errors: ['MHV_DLQ_UNKNOWN'],
  example: { letter_id: EXAMPLE_LETTER },
  async run({ store }, { letter_id }) {
    const letter = await findDeadLetter({ store }, letter_id)
    const run = await store.getRun(letter.run_id)
    const last = letter.last_run_id === null ? null : await store.getRun(letter.last_run_id)
    return {
      letter: shown(letter),
      run: run === null ? null : toResult(run),
      input: run?.input ?? null,
      last_run: last === null ? null : toResult(last),
    }
  },
})

const MAX_WAIT_SECONDS = 45

const dlqReplay = control({
  name: 'dlq_replay',
  cli: ['dlq', 'replay'],
  title: 'Replay a dead letter',
  summary:
    'Runs a failed run again, once, with its input, as whoever asks now. What may have acted and is not idempotent needs ' +
    'acknowledge_unknown, from somebody who has looked at the target.',
  effect: 'write',
  needsRuntime: true,
  input: z.object({
    letter_id: letterId,
    acknowledge_unknown: z
      .boolean()
      .default(false)
      .describe('the target was looked at, and doing it (again) is right although the failed run may have acted'),
    reason: z.string().max(500).optional().describe('why; kept with the run and in the audit trail'),
    seconds: z.number().min(0).max(MAX_WAIT_SECONDS).default(MAX_WAIT_SECONDS).describe('longest wait for its end'),
  }),
  output: z.object({ letter: deadLetterSchema, run: anyResultSchema }),
  argument: 'letter_id',
  errors: ['MHV_DLQ_UNKNOWN', 'MHV_DLQ_STATE', 'MHV_DLQ_ACKNOWLEDGE'],
  example: { letter_id: EXAMPLE_LETTER },
  async run(parts, { letter_id, acknowledge_unknown, reason, seconds }, principal, signal) {
    const { deadLetters } = parts
    if (deadLetters === undefined) throw mhvError('MHV_INTERNAL', 'this call needs a running instance')
    const letter = await findDeadLetter(parts, letter_id)
    const replay = await deadLetters.replay({
      letter,
      principal,
      acknowledge_unknown,
      reason,
      wait: seconds,
      signal,
    })
    await audit(parts, principal.id, 'dlq_replay', letter, { acknowledge_unknown, run_id: replay.run.run_id, reason })
    return { letter: shown(replay.letter), run: replay.run }
  },
})

const dlqArchive = control({
  name: 'dlq_archive',
  cli: ['dlq', 'archive'],
  title: 'Archive a dead letter',
  summary: 'Sets a dead letter aside: it is not replayed by itself any more, and goes when its time is over.',
  effect: 'write',
  needsRuntime: true,
  input: z.object({
    letter_id: letterId,
    reason: z.string().max(500).optional().describe('why; kept in the audit trail'),
  }),
  output: z.object({ letter: deadLetterSchema }),
  argument: 'letter_id',
  errors: ['MHV_DLQ_UNKNOWN', 'MHV_DLQ_STATE'],
  example: { letter_id: EXAMPLE_LETTER },
  async run(parts, { letter_id, reason }, principal) {
    const letter = await findDeadLetter(parts, letter_id)
    if (letter.state === 'archived') return { letter: shown(letter) }
    const from = ['open', 'poison'] as const
    const archived = await parts.store.changeDeadLetter({
      id: letter.id,
      from,
      to: 'archived',
      at: parts.clock.now(),
      next_at: null,
    })
    if (archived === null) {
      const { state } = await findDeadLetter(parts, letter_id)
      throw mhvError('MHV_DLQ_STATE', `dead letter ${letter_id} is ${state}`, { details: { letter_id, state } })
    }
    await audit(parts, principal.id, 'dlq_archive', letter, { reason })
    return { letter: shown(archived) }
  },
})

const PURGE_CHUNK = 500
const DONE_WITH = ['replayed', 'archived', 'poison'] as const

const dlqPurge = control({
  name: 'dlq_purge',
  cli: ['dlq', 'purge'],
  title: 'Remove dead letters',
  summary:
    'Removes dead letters for good: those named, or those of a state, or those that are done with and older than a time. ' +
    'Their runs stay in the journal. One that is being replayed stays.',
  effect: 'destroy',
  needsRuntime: true,
  input: z.object({
    letters: z.array(letterId).min(1).max(PURGE_CHUNK).optional().describe('ids of dead letters'),
    state: z
      .enum(states)
      .exclude(['replaying'])
      .optional()
      .describe('only of this state; default: replayed, archived, poison'),
    before: z.iso.datetime({ offset: true }).optional().describe('only those whose run failed before this, ISO 8601'),
    reason: z.string().max(500).optional().describe('why; kept in the audit trail'),
  }),
  output: z.object({ removed: z.number().int() }),
  example: { state: 'archived', before: '2026-01-01T00:00:00Z' },
  async run(parts, { letters, state, before, reason }, principal) {
    if (letters === undefined && state === undefined && before === undefined) {
      throw mhvError('MHV_INPUT_INVALID', 'nothing is named: give letters, state or before')
    }
    const byState = letters === undefined || state !== undefined
    const selection = {
      ...(letters === undefined ? {} : { ids: letters }),
      ...(byState ? { state: state === undefined ? DONE_WITH : [state] } : {}),
      ...(before === undefined ? {} : { before: Date.parse(before) }),
    }
    let removed = 0
    for (let count = PURGE_CHUNK; count === PURGE_CHUNK; removed += count) {
      count = await parts.store.deleteDeadLetters(selection, PURGE_CHUNK)
    }
    if (removed > 0) await audit(parts, principal.id, 'dlq_purge', null, { removed, letters, state, before, reason })
    return { removed }
  },
})

const dlqStats = control({
  name: 'dlq_stats',
  cli: ['dlq', 'stats'],
  title: 'Numbers of dead letters',
  summary:
    'Counts the dead letters by state and worker, their bytes, the oldest open one, and those lost for want of room.',
  effect: 'read',
  needsRuntime: false,
  input: z.object({}),
  output: z.object({
    count: z.number().int(),
    by_state: z.record(z.string(), z.number().int()),
    by_worker: z.record(z.string(), z.number().int()).describe('of those that are open or being replayed'),
    bytes: z.number().int(),
    oldest_at: z.string().nullable().describe('of the oldest one that is open'),
    dropped: z.number().int().describe('removed for want of room, since the journal was made'),
    rejected: z.number().int().describe('not kept for want of room, since the journal was made'),
  }),
  example: {},
  async run({ store }) {
    const { by_state, by_worker, oldest_at, ...numbers } = await store.deadLetterStats()
    return {
      ...numbers,
      by_state: { ...by_state },
      by_worker: { ...by_worker },
      oldest_at: oldest_at === null ? null : isoTime(oldest_at),
    }
  },
})

async function audit(
  { store, clock, redactor }: ControlParts,
  principal: string,
  action: string,
  letter: DeadLetter | null,
  details: Readonly<Record<string, unknown>>,
): Promise<void> {
  await store.appendAudit({
    at: clock.now(),
    principal,
    action,
    target: letter?.target ?? null,
    decision: 'allow',
    rule: null,
    run_id: letter?.run_id ?? null,
    details: redactor.deep({
      ...(letter === null ? {} : { letter_id: letter.id }),
      ...Object.fromEntries(Object.entries(details).filter(([, value]) => value !== undefined)),
    }),
  })
}

const calls = [dlqList, dlqShow, dlqReplay, dlqArchive, dlqPurge, dlqStats]

/** Few clients need them, and then only now and then. */
export const DEAD_LETTER_CALLS: readonly ControlCall[] = calls.map((call) => ({ ...call, onDemand: true }))
