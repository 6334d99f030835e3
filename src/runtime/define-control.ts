import type { z } from 'zod'
import type { ControlCall } from './control.ts'

/**
 * Declares a control call: checked against its own input and output, then as one of the table. Its caller parses the
 * input with the call's own schema before anything of it is called (call-control.ts), which no type of a table of
 * different calls can say.
 */
export function control<I extends z.ZodObject, O extends z.ZodObject>(call: ControlCall<I, O>): ControlCall {
  return call as unknown as ControlCall
}
