import type { Principal } from '../../core/context.ts'
import type { Instance } from '../../runtime/instance.ts'

/** Who calls, and what the end of a request means. One for each server instance. */
export interface Caller {
  /** Who the guard says it is; undefined where whoever runs the process asks (stdio). */
  readonly principal: Principal | undefined
  /**
   * What an aborted request means. `cancelled`: somebody said so (stdio). `broken`: the stream broke, which may be a
   * cancellation or a network (HTTP, 2026 era). `nothing`: a stateless server is told of no cancellation, and a lost
   * connection is none by the rules of that era (HTTP, 2025 era).
   */
  readonly aborted: 'cancelled' | 'broken' | 'nothing'
}

/**
 * The signal that cancels the run of a call. A call with an idempotency key goes on when its stream breaks: the client
 * repeats it, and finds the run it began.
 */
export function runSignal(caller: Caller, signal: AbortSignal, idempotencyKey: unknown): AbortSignal | undefined {
  if (caller.aborted === 'nothing') return undefined
  return caller.aborted === 'broken' && idempotencyKey !== undefined ? undefined : signal
}

/** Tells the log of a run that goes on without its caller; the run itself tells of a cancellation. Returns its end. */
export function noteBroken(instance: Instance, signal: AbortSignal, operation: string): () => void {
  const broken = () => instance.log.info('the stream of a call broke; its run goes on', { operation })
  signal.addEventListener('abort', broken, { once: true })
  return () => signal.removeEventListener('abort', broken)
}
