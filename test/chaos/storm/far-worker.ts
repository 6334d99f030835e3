import { connect, type Socket } from 'node:net'
import { z } from 'zod'
import type { OperationContext } from '../../../src/core/context.ts'
import { MhvError, mhvError } from '../../../src/core/errors.ts'
import { defineOperation } from '../../../src/core/operation.ts'
import { defineWorker } from '../../../src/core/worker.ts'
import { type FarRequest, GREETING, monotonicMs } from './far-side.ts'

const settings = z.object({
  connect_ms: z.number().int().min(1).default(400).describe('longest wait for the greeting, in milliseconds'),
})
const target = z.object({ port: z.number().int().min(1).max(65_535).describe('port of the far side on loopback') })
type FarContext = OperationContext<FarConnection, z.output<typeof settings>, z.output<typeof target>>

interface FarConnection {
  stats(): Record<string, number>
  close(): Promise<void>
}

/**
 * A worker whose acting is one request over TCP. It says of each failure what it can know: nothing was done as long as
 * the request has not been sent; afterwards nobody knows. `life` is the number of this process.
 */
export function createFarWorker(life: number) {
  let active = 0

  async function ask(op: FarRequest['op'], context: FarContext, input: { token: string; pause_ms: number }) {
    active += 1
    try {
      const { token, pause_ms } = input
      await request(context, { op, token, pause_ms, run_id: context.run_id, life, active })
      return { token }
    } finally {
      active -= 1
    }
  }

  const common = {
    input: z.object({
      token: z.string().min(1).max(200).describe('what is to be done, by name'),
      pause_ms: z.number().int().min(0).max(60_000).default(0).describe('how long the far side takes'),
    }),
    output: z.object({ token: z.string() }),
    errors: [],
    timeout: 20,
    examples: [{ title: 'one', target: 'far', input: { token: 'a' } }],
  }
  const append = defineOperation({
    ...common,
    id: 'far.append',
    title: 'Append',
    summary: 'Adds a line to the ledger of the far side: doing it twice is one too many.',
    effect: 'write',
    idempotent: false,
    run: (context: FarContext, input) => ask('append', context, input),
  })
  const set = defineOperation({
    ...common,
    id: 'far.set',
    title: 'Set',
    summary: 'Sets a value on the far side: doing it twice is the same as once.',
    effect: 'write',
    idempotent: true,
    run: (context: FarContext, input) => ask('set', context, input),
    resume: (context: FarContext, input) => ask('set', context, input),
  })
  const read = defineOperation({
    ...common,
    id: 'far.read',
    title: 'Read',
    summary: 'Asks the far side, which changes nothing.',
    effect: 'read',
    idempotent: true,
    run: (context: FarContext, input) => ask('read', context, input),
  })

  return defineWorker({
    name: 'far',
    title: 'Far side',
    description: 'Acts over TCP on a ledger that is kept elsewhere.',
    settings,
    target,
    breaker: { failure_threshold: 8, window_seconds: 5, recovery_timeout: 0.5, half_open_max_calls: 2 },
    connect: async (): Promise<FarConnection> => ({ stats: () => ({ active }), close: async () => undefined }),
    slos: [],
    recovery: {
      codes: {
        MHV_SSH_CONNECT_REFUSED: { strategy: 'retry', max_attempts: 2 },
        MHV_SSH_CONNECT_TIMEOUT: { strategy: 'retry', max_attempts: 2 },
        MHV_SSH_CONNECTION_LOST: { strategy: 'retry', max_attempts: 3 },
      },
      categories: {},
    },
    operations: [append, set, read],
  })
}

/** One request on a connection of its own. Throws an error that says what can be known of its effect. */
async function request(context: FarContext, asked: Omit<FarRequest, 'sent_at'>): Promise<void> {
  const { signal } = context
  signal.throwIfAborted()
  const socket = connect({ host: '127.0.0.1', port: context.target.address.port, noDelay: true })
  let sent = false
  const abort = () => socket.destroy()
  signal.addEventListener('abort', abort, { once: true })
  const late = setTimeout(() => {
    if (!sent) socket.destroy(mhvError('MHV_SSH_CONNECT_TIMEOUT', 'the far side did not greet in time'))
  }, context.settings.connect_ms)
  try {
    for await (const line of linesOf(socket)) {
      if (line !== GREETING) return
      // From here on it may have been done, whatever comes back.
      sent = true
      socket.write(`${JSON.stringify({ ...asked, sent_at: monotonicMs() })}\n`)
    }
    throw new Error('the connection ended')
  } catch (error) {
    if (signal.aborted) throw signal.reason
    if (sent) throw mhvError('MHV_SSH_CONNECTION_LOST', 'the connection ended before the answer', { cause: error })
    if (error instanceof MhvError) throw error
    throw mhvError('MHV_SSH_CONNECT_REFUSED', 'the connection ended before the request was sent', { cause: error })
  } finally {
    clearTimeout(late)
    signal.removeEventListener('abort', abort)
    socket.destroy()
  }
}

/** Whole lines only: what a reset has cut off is no answer. */
async function* linesOf(socket: Socket): AsyncGenerator<string> {
  let rest = ''
  for await (const piece of socket.setEncoding('utf8')) {
    const lines = `${rest}${piece}`.split('\n')
    rest = lines.pop() ?? ''
    yield* lines
  }
}
