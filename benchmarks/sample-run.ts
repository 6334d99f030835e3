import { systemClock } from '../src/core/clock.ts'
import type { NewRunEvent } from '../src/core/events.ts'
import { newId } from '../src/core/ids.ts'
import type { NewRun, RunEnd } from '../src/store/store.ts'

/** Runs as `ssh.execute` journals them, with the same bytes for whoever writes them. */

const EVENT_AT = 1_700_000_000_000

export const SAMPLE_END: RunEnd = {
  status: 'completed',
  effect_certainty: 'applied',
  output: 'active\n',
  data: {
    stdout: 'active\n',
    stderr: '',
    exit_code: 0,
    signal: null,
    stdout_bytes: 7,
    stderr_bytes: 0,
    dropped_bytes: 0,
  },
  error: null,
  error_code: null,
  error_details: null,
  exit_code: 0,
  attempts: 1,
  finished_at: EVENT_AT + 12,
}

export const BEGIN_EVENTS: readonly NewRunEvent[] = [
  { type: 'accepted', at: EVENT_AT, data: { principal: 'user:1000', surface: 'mcp', rule: 'dev-is-free' } },
  { type: 'started', at: EVENT_AT, data: {} },
]

export const END_EVENTS: readonly NewRunEvent[] = [
  {
    type: 'finished',
    at: EVENT_AT + 12,
    data: { status: 'completed', effect_certainty: 'applied', error_code: null, exit_code: 0, attempts: 1 },
  },
]

/** A run that begins; with an end it is one that is written once, finished. */
export function sampleRun(end?: RunEnd, events: readonly NewRunEvent[] = []): NewRun {
  return {
    facts: {
      run_id: newId(systemClock),
      worker: 'ssh',
      operation: 'ssh.execute',
      target: 'web-1',
      tier: 'dev',
      worker_id: 'ssh-01K5E2W9QZ3V7M4T8N6R1XJYHB',
      principal: 'user:1000',
      surface: 'mcp',
      effect: 'write',
      priority: 'normal',
      reason: null,
      input: { command: 'systemctl is-active nginx', env: {}, stdin: null },
      accepted_at: EVENT_AT,
      deadline: EVENT_AT + 300_000,
      replay_of: null,
    },
    status: end?.status ?? 'running',
    started_at: EVENT_AT,
    ...(end === undefined ? {} : { end }),
    events,
  }
}
