import { z } from 'zod'
import type { OperationContext } from '../core/context.ts'
import { isErrorCode } from '../core/error-table.ts'
import { mhvError } from '../core/errors.ts'
import { defineOperation, type Effect } from '../core/operation.ts'
import { defineWorker } from '../core/worker.ts'

/** What the probe did, counted on the far side of the path: the ledger of tests. */
export interface ProbeLedger {
  readonly calls: { readonly run_id: string; readonly attempt: number; readonly value: string }[]
  /** Called with every act, before anything else; for ledgers outside of the process. */
  onAct?: (run_id: string, effect: Effect) => void
  active: number
  highest: number
}

const settings = z.object({ pause_ms: z.number().int().min(0).default(0).describe('pause of every call in ms') })
const target = z.object({ name: z.string().default('probe').describe('any text') })
type ProbeContext = OperationContext<ProbeConnection, z.output<typeof settings>, z.output<typeof target>>

interface ProbeConnection {
  readonly ledger: ProbeLedger
  stats(): Record<string, number>
  close(): Promise<void>
}

export function createLedger(): ProbeLedger {
  return { calls: [], active: 0, highest: 0 }
}

/**
 * A worker that acts on nothing, for tests and benchmarks: it goes the whole path of every operation. `ledger` tells
 * what it was called with.
 */
export function createProbeWorker(ledger: ProbeLedger = createLedger()) {
  async function act(context: ProbeContext, value: string): Promise<{ value: string }> {
    ledger.onAct?.(context.run_id, context.effect)
    ledger.calls.push({ run_id: context.run_id, attempt: context.attempt, value })
    ledger.active += 1
    ledger.highest = Math.max(ledger.highest, ledger.active)
    try {
      if (context.settings.pause_ms > 0) await context.clock.sleep(context.settings.pause_ms, context.signal)
      return { value }
    } finally {
      ledger.active -= 1
    }
  }

  const value = z.string().max(100_000).default('').describe('any text; it comes back')
  const output = z.object({ value: z.string() })
  const common = {
    input: z.object({ value }),
    output,
    errors: [],
    timeout: 30,
    examples: [{ title: 'echo', input: {} }],
  }

  const look = defineOperation({
    ...common,
    id: 'probe.look',
    title: 'Look',
    summary: 'Reads nothing and says so.',
    effect: 'read',
    idempotent: true,
    targeted: false,
    run: (context: ProbeContext, input) => act(context, input.value),
    summarize: (data) => ({ output: data.value }),
  })

  const touch = defineOperation({
    ...common,
    id: 'probe.touch',
    title: 'Touch',
    summary: 'Writes nothing, but is journaled as a write.',
    effect: 'write',
    idempotent: false,
    run: (context: ProbeContext, input) => act(context, input.value),
    summarize: (data) => ({ output: data.value, exit_code: 0 }),
  })

  const fail = defineOperation({
    ...common,
    id: 'probe.fail',
    title: 'Fail',
    summary: 'Fails with the code that it is given, a number of times.',
    effect: 'write',
    idempotent: false,
    input: z.object({
      code: z.string(),
      times: z.number().int().min(0).default(1_000),
      message: z.string().default('told to'),
      pause_ms: z.number().int().min(0).default(0),
    }),
    examples: [{ title: 'a refused connection', input: { code: 'MHV_SSH_CONNECT_REFUSED' } }],
    async run(context: ProbeContext, input) {
      await act(context, input.code)
      await context.clock.sleep(input.pause_ms, context.signal)
      if (context.attempt > input.times) return { value: 'recovered' }
      if (!isErrorCode(input.code)) throw new Error(input.message)
      throw mhvError(input.code, input.message)
    },
  })

  const emit = defineOperation({
    ...common,
    id: 'probe.emit',
    title: 'Emit',
    summary: 'Writes output piece by piece, then waits until it is told to stop or for a while.',
    effect: 'write',
    idempotent: false,
    input: z.object({
      pieces: z.array(z.string()).default([]),
      wait_ms: z.number().int().min(0).default(0).describe('how long it goes on afterwards'),
      deaf: z.boolean().default(false).describe('whether it ignores its signal'),
    }),
    output: z.object({ text: z.string(), bytes: z.number().int(), dropped_bytes: z.number().int() }),
    examples: [{ title: 'two pieces', input: { pieces: ['a', 'b'] } }],
    async run(context: ProbeContext, input) {
      await act(context, 'emit')
      for (const piece of input.pieces) await context.output.write('stdout', Buffer.from(piece))
      await context.progress({ progress: input.pieces.length, message: 'written' })
      await context.clock.sleep(input.wait_ms, input.deaf ? undefined : context.signal)
      const { text, bytes, dropped_bytes } = await context.output.collect('stdout')
      return { text, bytes, dropped_bytes }
    },
    summarize: (data) => ({ output: data.text }),
  })

  return defineWorker({
    name: 'probe',
    title: 'Probe',
    description: 'Acts on nothing; for tests and benchmarks of the path itself.',
    settings,
    target,
    breaker: { failure_threshold: 5, recovery_timeout: 300, half_open_max_calls: 3 },
    async connect(): Promise<ProbeConnection> {
      return { ledger, stats: () => ({ calls: ledger.calls.length }), close: async () => undefined }
    },
    async ping(_connection, { name }) {
      return { healthy: true, message: `${name} is there` }
    },
    slos: [],
    recovery: {
      codes: {
        MHV_SSH_CONNECT_REFUSED: { strategy: 'retry', max_attempts: 3 },
        MHV_SSH_CONNECTION_LOST: { strategy: 'retry', max_attempts: 3 },
      },
      categories: {},
    },
    operations: [look, touch, fail, emit],
  })
}
