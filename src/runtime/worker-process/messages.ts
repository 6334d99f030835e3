import { fromWire, MhvError, toMhvError, type WireError } from '../../core/errors.ts'
import { plainJson } from '../../core/plain-json.ts'

/** Something that was thrown: of the table, or a defect with its message. */
export type Thrown = { readonly wire: WireError } | { readonly message: string; readonly stack?: string | undefined }

export function packThrown(thrown: unknown): Thrown {
  if (thrown instanceof MhvError) return { wire: cloneable(thrown.toWire()) }
  // What has no text cannot be told either; see toMhvError.
  if (!(thrown instanceof Error)) return { message: toMhvError(thrown).message }
  return { message: thrown.message, stack: thrown.stack }
}

/** Details are JSON; what is not must not keep the error itself from being told. */
function cloneable(wire: WireError): WireError {
  if (wire.details === undefined) return wire
  return { ...wire, details: plainJson(wire.details) as Readonly<Record<string, unknown>> }
}

export function unpackThrown(thrown: Thrown): Error {
  if ('wire' in thrown) return fromWire(thrown.wire)
  const error = new Error(thrown.message)
  // Where it was thrown, for the log.
  if (thrown.stack !== undefined) error.stack = thrown.stack
  return error
}

/** A value without what cannot be cloned, and what belongs in its places. */
export interface Packed {
  readonly value: unknown
  /** Absent where there is none. */
  readonly refs?: readonly Reference[]
}

export interface Reference {
  /** Keys from the value down to the place. */
  readonly path: readonly (string | number)[]
  readonly kind: 'function' | 'signal'
  readonly id: number
}

/** Everything that goes over the channel. `id` is that of a call, given by whoever makes it. */
export type Message =
  | { readonly kind: 'call'; readonly id: number; readonly method: string; readonly args: Packed }
  | { readonly kind: 'tell'; readonly method: string; readonly args: Packed }
  | { readonly kind: 'invoke'; readonly id: number; readonly fn: number; readonly args: Packed }
  | { readonly kind: 'return'; readonly id: number; readonly value: Packed }
  | { readonly kind: 'throw'; readonly id: number; readonly error: Thrown }
  | { readonly kind: 'abort'; readonly signal: number; readonly reason: Thrown }
  | { readonly kind: 'forget'; readonly fn: number }
