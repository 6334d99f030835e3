import { z } from 'zod'
import { isoTime } from '../core/clock.ts'
import type { Principal } from '../core/context.ts'
import { mhvError } from '../core/errors.ts'
import { anyResultSchema, isFinal, RUN_STATUSES, type WorkerResult } from '../core/result.ts'
import { quoted } from '../core/suggest.ts'
import type { RunRecord } from '../store/store.ts'
import type { ControlCall, ControlParts } from './control.ts'
import { control } from './define-control.ts'
import { explainRun, explanationSchema } from './explain.ts'
import { toResult } from './to-result.ts'

/** Runs as people and agents see them, wait for them and stop them. */

/** Most events of one answer. */
const MAX_EVENTS = 1_000

const EXAMPLE_RUN = '01K5E2W9QZ3V7M4T8N6R1XJYHB'
const runId = z.string().describe('ULID of the run')

const runGet = control({
  name: 'run_get',
  cli: ['runs', 'show'],
  title: 'Show a run',
  summary: 'Shows one run: its result, what is known of its effect, and its event log, page by page where it is long.',
  effect: 'read',
  needsRuntime: false,
  input: z.object({
    run_id: runId,
    since_event: z
      .number()
      .int()
      .min(0)
      .default(0)
      .describe('only events with a greater seq: next_event of the answer before'),
  }),
  output: z.object({
    run: anyResultSchema,
    input: z.unknown().describe('the input it was called with'),
    events: z.array(
      z.object({ seq: z.number().int(), at: z.string(), type: z.string(), data: z.record(z.string(), z.unknown()) }),
    ),
    next_event: z
      .number()
      .int()
      .nullable()
      .describe('since_event of the next call; null when these were the last ones'),
  }),
  argument: 'run_id',
  page: { input: 'since_event', output: 'next_event' },
  example: { run_id: EXAMPLE_RUN },
  async run(parts, { run_id, since_event }) {
    const record = await findRun(parts, run_id)
    // One more than fits tells whether there is a next page.
    const found = await parts.store.getEvents(run_id, since_event, MAX_EVENTS + 1)
    const events = found.slice(0, MAX_EVENTS)
    return {
      run: toResult(record),
      input: record.input,
      events: events.map(({ seq, at, type, data }) => ({ seq, at: isoTime(at), type, data })),
      next_event: found.length > events.length ? (events.at(-1)?.seq ?? null) : null,
    }
  },
})

const MAX_WAIT_SECONDS = 45

const runWait = control({
  name: 'run_wait',
  cli: ['runs', 'wait'],
  title: 'Wait for a run',
  summary: 'Waits until a run has ended, for a bounded time, and answers with the run as it then is.',
  effect: 'read',
  needsRuntime: false,
  input: z.object({
    run_id: runId,
    seconds: z.number().min(0).max(MAX_WAIT_SECONDS).default(MAX_WAIT_SECONDS).describe('longest wait in seconds'),
  }),
  output: z.object({ run: anyResultSchema, ended: z.boolean() }),
  argument: 'run_id',
  example: { run_id: EXAMPLE_RUN, seconds: 10 },
  async run(parts, { run_id, seconds }, _principal, signal) {
    const record = await waitForRun(parts, run_id, seconds, signal)
    return { run: toResult(record), ended: isFinal(record.status) }
  },
})

/** How often a process that does not hold the instance looks into the journal, in milliseconds. */
const POLL_MS = 200

async function waitForRun(
  parts: ControlParts,
  run_id: string,
  seconds: number,
  signal: AbortSignal,
): Promise<RunRecord> {
  const until = parts.clock.monotonic() + seconds * 1000
  for (;;) {
    const live = parts.live.get(run_id)
    if (live === undefined) {
      const record = await findRun(parts, run_id)
      if (isFinal(record.status) || parts.clock.monotonic() >= until) return record
      await parts.clock.sleep(POLL_MS, signal)
      continue
    }
    const timer = new AbortController()
    const left = parts.clock.sleep(
      Math.max(0, until - parts.clock.monotonic()),
      AbortSignal.any([signal, timer.signal]),
    )
    const ended = await Promise.race([live.done, left.then(() => null)])
    timer.abort()
    left.catch(() => undefined)
    return ended ?? live.record()
  }
}

const MAX_OUTPUT_BYTES = 256 * 1024

const runOutput = control({
  name: 'run_output',
  cli: ['runs', 'output'],
  title: 'Output of a run',
  summary: 'Reads the output of a run piece by piece, also while it runs. What was not kept is counted in gap_bytes.',
  effect: 'read',
  needsRuntime: false,
  input: z.object({
    run_id: runId,
    cursor: z.number().int().min(0).default(0).describe('0 for the beginning, then next_cursor of the answer before'),
    max_bytes: z
      .number()
      .int()
      .min(1)
      .max(MAX_OUTPUT_BYTES)
      .default(64 * 1024)
      .describe('most bytes of one answer'),
    encoding: z.enum(['utf8', 'base64']).default('utf8').describe('utf8 replaces what is not text by U+FFFD'),
  }),
  output: z.object({
    run_id: z.string(),
    chunks: z.array(
      z.object({
        stream: z.enum(['stdout', 'stderr']),
        text: z.string(),
        gap_bytes: z.number().int().describe('bytes that were not kept just before this piece'),
      }),
    ),
    next_cursor: z.number().int(),
    ended: z.boolean().describe('true when there is nothing after this and nothing will come'),
  }),
  argument: 'run_id',
  example: { run_id: EXAMPLE_RUN, cursor: 0 },
  async run(parts, { run_id, cursor, max_bytes, encoding }) {
    // The status is read first: what ended before cannot gain output after. A live run may have its end in the journal
    // and the last of its output still on the way there.
    const finished = parts.live.get(run_id) === undefined && isFinal((await findRun(parts, run_id)).status)
    const chunks = await parts.store.getOutput(run_id, cursor, max_bytes)
    const next_cursor = chunks.at(-1)?.seq ?? cursor
    return {
      run_id,
      chunks: chunks.map(({ stream, bytes, gap_bytes }) => ({
        stream,
        text: Buffer.from(bytes).toString(encoding),
        gap_bytes,
      })),
      next_cursor,
      ended: finished && (await parts.store.getOutput(run_id, next_cursor, 1)).length === 0,
    }
  },
})

const runCancel = control({
  name: 'run_cancel',
  cli: ['runs', 'cancel'],
  title: 'Cancel a run',
  summary: 'Ends a run that waits or acts, on the far side too, and says what is known of its effect.',
  effect: 'write',
  needsRuntime: true,
  input: z.object({ run_id: runId, reason: z.string().max(500).optional().describe('why; kept in the audit trail') }),
  output: z.object({ run: anyResultSchema, ended: z.boolean() }),
  argument: 'run_id',
  example: { run_id: EXAMPLE_RUN },
  async run(parts, { run_id, reason }, principal, signal) {
    const before = await findRun(parts, run_id)
    const live = parts.live.get(run_id)
    if (live !== undefined) {
      live.abort(mhvError('MHV_RUN_CANCELLED', `the run was cancelled by ${principal.id}`))
      await auditCancel(parts, before, principal, reason)
    }
    const record = live === undefined ? before : await waitForRun(parts, run_id, MAX_WAIT_SECONDS, signal)
    return { run: toResult(record), ended: isFinal(record.status) }
  },
})

/** A journal without room must not keep anybody from stopping a run, so it is stopped first. */
async function auditCancel(parts: ControlParts, run: RunRecord, principal: Principal, reason?: string): Promise<void> {
  await parts.store.appendAudit({
    at: parts.clock.now(),
    principal: principal.id,
    action: 'run_cancel',
    target: run.target,
    decision: 'allow',
    rule: null,
    run_id: run.run_id,
    details: reason === undefined ? {} : { reason: parts.redactor.text(reason) },
  })
}

const runList = control({
  name: 'run_list',
  cli: ['runs', 'list'],
  title: 'List runs',
  summary: 'Lists runs, newest first, by worker, operation, target, status, principal and time.',
  effect: 'read',
  needsRuntime: false,
  input: z.object({
    worker: z.string().optional().describe('name of the worker'),
    operation: z.string().optional().describe('id of the operation, worker.verb'),
    on: z.string().optional().describe('name of the target'),
    principal: z.string().optional().describe('who asked, such as user:1000'),
    status: z.enum(RUN_STATUSES).optional().describe('how far the run is'),
    since: z.iso.datetime({ offset: true }).optional().describe('accepted at or after, ISO 8601'),
    until: z.iso.datetime({ offset: true }).optional().describe('accepted before, ISO 8601'),
    limit: z.number().int().min(1).max(200).default(20),
    before: z.string().optional().describe('only runs before this one: next of the answer before'),
  }),
  output: z.object({ runs: z.array(anyResultSchema.omit({ data: true, output: true })), next: z.string().nullable() }),
  page: { input: 'before', output: 'next' },
  example: { worker: 'ssh', limit: 5 },
  async run(parts, { on, status, since, until, limit, ...rest }) {
    const records = await parts.store.listRuns({
      ...rest,
      limit,
      ...(on === undefined ? {} : { target: on }),
      ...(status === undefined ? {} : { status: [status] }),
      ...(since === undefined ? {} : { since: Date.parse(since) }),
      ...(until === undefined ? {} : { until: Date.parse(until) }),
    })
    return {
      runs: records.map(withoutOutput),
      next: records.length === limit ? (records.at(-1)?.run_id ?? null) : null,
    }
  },
})

/** Events that an explanation looks at: more than any run has that is not mostly progress. */
const EXPLAINED_EVENTS = 10_000

const runExplain = control({
  name: 'run_explain',
  cli: ['runs', 'explain'],
  shortcut: 'explain',
  title: 'Explain a run',
  summary: 'Tells which rule, limit, breaker or budget allowed, delayed, denied or retried a run, with times.',
  effect: 'read',
  needsRuntime: false,
  input: z.object({ run_id: runId }),
  output: explanationSchema,
  argument: 'run_id',
  example: { run_id: EXAMPLE_RUN },
  async run(parts, { run_id }) {
    const record = await findRun(parts, run_id)
    const events = await parts.store.getEvents(run_id, 0, EXPLAINED_EVENTS)
    return { run_id, status: record.status, ...explainRun(record, events, parts.clock.now()) }
  },
})

function withoutOutput(record: RunRecord) {
  const { data: _data, output: _output, ...rest }: WorkerResult = toResult(record)
  return rest
}

export const RUN_CALLS: readonly ControlCall[] = [runGet, runWait, runOutput, runCancel, runList, runExplain]

/** The run of an id, as it stands in this process, else as the journal has it. */
export async function lookUpRun(
  parts: Pick<ControlParts, 'store' | 'live'>,
  run_id: string,
): Promise<RunRecord | null> {
  return parts.live.get(run_id)?.record() ?? (await parts.store.getRun(run_id))
}

export async function findRun(parts: Pick<ControlParts, 'store' | 'live'>, run_id: string): Promise<RunRecord> {
  const record = await lookUpRun(parts, run_id)
  if (record === null) throw mhvError('MHV_RUN_UNKNOWN', `there is no run ${quoted(run_id)}`)
  return record
}
