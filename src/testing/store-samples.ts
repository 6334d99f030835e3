import assert from 'node:assert/strict'
import type { NewRunEvent, RunEventType } from '../core/events.ts'
import { idFloor } from '../core/ids.ts'
import type { FinalStatus } from '../core/run-status.ts'
import type { CreateOutcome, NewRun, RunEnd, RunFacts, Store } from '../store/store.ts'
import type { FakeClock } from './fake-clock.ts'

export interface OpenedStore {
  readonly store: Store
  /** Closes the store and opens the same journal again; absent where nothing outlives a close. */
  reopen?(): Promise<Store>
  /** Called after every test. What a failed one leaves on a disk is to be kept. */
  cleanup(failed: boolean): Promise<void>
}

export type WithStore = (
  test: (store: Store, clock: FakeClock, opened: OpenedStore) => Promise<void>,
) => () => Promise<void>

/** Runs for tests of a store: valid as they are, each field open to change. */

/** When the samples' time begins, in milliseconds since the epoch. */
export const SAMPLE_START = 1_700_000_000_000

/** What the first opening of a journal adds to a run's facts. */
export const IN_JOURNAL = { fence: 1, dead_letter: null } as const

/** The nth run id: a ULID of SAMPLE_START, rising with n. */
export function sampleId(n: number): string {
  return `${idFloor(SAMPLE_START)}${String(n).padStart(16, '0')}`
}

export function sampleFacts(n: number, facts: Partial<RunFacts> = {}): RunFacts {
  return {
    run_id: sampleId(n),
    worker: 'ssh',
    operation: 'ssh.execute',
    target: 'web-1',
    tier: 'dev',
    worker_id: 'ssh-a',
    principal: 'agent:ops',
    surface: 'mcp',
    effect: 'write',
    priority: 'normal',
    reason: null,
    input: { command: 'uptime' },
    accepted_at: SAMPLE_START + n,
    deadline: SAMPLE_START + n + 60_000,
    replay_of: null,
    ...facts,
  }
}

export function sampleEvent(type: RunEventType, data: NewRunEvent['data'] = {}): NewRunEvent {
  return { type, at: SAMPLE_START + 5, data }
}

export function sampleEnd(status: FinalStatus, end: Partial<RunEnd> = {}): RunEnd {
  const failed = status !== 'completed'
  return {
    status,
    effect_certainty: failed ? 'none' : 'applied',
    output: failed ? null : 'up 3 days',
    data: failed ? null : { exit_code: 0 },
    error: failed ? 'refused' : null,
    error_code: failed ? 'MHV_SSH_CONNECT_REFUSED' : null,
    error_details: failed ? { port: 22 } : null,
    exit_code: failed ? null : 0,
    attempts: failed ? 2 : 1,
    finished_at: SAMPLE_START + 900,
    ...end,
  }
}

/** A run that begins as `running` unless `run` says otherwise. */
export function sampleRun(n: number, run: Partial<NewRun> = {}, facts: Partial<RunFacts> = {}): NewRun {
  return {
    facts: sampleFacts(n, facts),
    status: 'running',
    started_at: SAMPLE_START + n,
    events: [sampleEvent('accepted')],
    ...run,
  }
}

/** A run with a key that is kept for a minute of the samples' time. */
export function keyedRun(n: number, key: string, run: Partial<NewRun> = {}, facts: Partial<RunFacts> = {}): NewRun {
  const idempotency = { key, digest: 'd1', expires_at: SAMPLE_START + 60_000 }
  return sampleRun(n, { idempotency, ...run }, facts)
}

/** A run in each status, as a new run; a finished one says for certain that it changed nothing. */
export function runIn(n: number, status: NewRun['status']): NewRun {
  const pending = status === 'pending'
  const ended = status === 'pending' || status === 'starting' || status === 'running' ? undefined : sampleEnd(status)
  return sampleRun(n, { status, started_at: pending ? null : SAMPLE_START, end: ended })
}

export async function create(store: Store, run: NewRun): Promise<CreateOutcome> {
  const outcome = await store.createRun(run)
  assert.equal(outcome.kind, 'created')
  return outcome
}

/** Asserts that a call is refused with a code of the error table. */
export function refused(call: Promise<unknown>, code: string): Promise<void> {
  return assert.rejects(call, { code })
}
