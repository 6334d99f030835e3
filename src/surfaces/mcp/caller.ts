import type { Principal } from '../../core/context.ts'
import type { InvokeRequest } from '../../runtime/runtime.ts'

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
  /** Aborted when the connection of the request is gone before its whole answer (HTTP). */
  readonly gone?: AbortSignal
}

/**
 * What the end of a request is to its run: it cancels it, or is only told in it. A call with an idempotency key goes on
 * when its stream breaks: the client repeats it, and finds the run it began.
 */
export function endOfRequest(
  { aborted, gone = new AbortController().signal }: Caller,
  signal: AbortSignal,
  idempotencyKey: unknown,
): Pick<InvokeRequest, 'signal' | 'left'> {
  const goesOn = aborted === 'nothing' || (aborted === 'broken' && idempotencyKey !== undefined)
  return goesOn ? { left: gone } : { signal }
}
