import { ERROR_TABLE, type ErrorCode, type ErrorSpec, isErrorCode } from './error-table.ts'

export interface ErrorOptions {
  /** Structured facts for programs: JSON values only, never a secret. */
  readonly details?: Readonly<Record<string, unknown>>
  /** Seconds after which the same call may be made again. */
  readonly retryAfter?: number
  /** Overrides the table's remedy where a more exact one is known. */
  readonly remedy?: string
  readonly cause?: unknown
}

/** The shape in which an error crosses threads, processes and surfaces. */
export interface WireError {
  readonly code: ErrorCode
  readonly message: string
  readonly remedy: string
  readonly details?: Readonly<Record<string, unknown>>
  readonly retry_after?: number
}

/** An error with a code of the one table. Thrown by every layer; anything else that is thrown is a defect. */
export class MhvError extends Error {
  readonly code: ErrorCode
  readonly details: Readonly<Record<string, unknown>> | undefined
  readonly retryAfter: number | undefined
  readonly remedy: string

  constructor(code: ErrorCode, message: string, options: ErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'MhvError'
    this.code = code
    this.details = options.details
    this.retryAfter = options.retryAfter
    this.remedy = options.remedy ?? ERROR_TABLE[code].remedy
  }

  get spec(): ErrorSpec {
    return ERROR_TABLE[this.code]
  }

  toWire(): WireError {
    return {
      code: this.code,
      message: this.message,
      remedy: this.remedy,
      ...(this.details === undefined ? {} : { details: this.details }),
      ...(this.retryAfter === undefined ? {} : { retry_after: this.retryAfter }),
    }
  }
}

/** Builds an error of the table: `throw mhvError('MHV_INPUT_INVALID', 'command: must not be empty')`. */
export function mhvError(code: ErrorCode, message: string, options?: ErrorOptions): MhvError {
  return new MhvError(code, message, options)
}

/** The error of a wire shape, as it was thrown on the other side. */
export function fromWire(wire: WireError): MhvError {
  const code = isErrorCode(wire.code) ? wire.code : 'MHV_INTERNAL'
  return new MhvError(code, wire.message, { details: wire.details, retryAfter: wire.retry_after, remedy: wire.remedy })
}

/** Whatever was thrown, as an error of the table; what has no code of its own is `MHV_INTERNAL`. */
export function toMhvError(thrown: unknown): MhvError {
  if (thrown instanceof MhvError) return thrown
  return new MhvError('MHV_INTERNAL', messageOf(thrown), { cause: thrown })
}

/** What is thrown may be anything, also what has no text (`Object.create(null)`) or throws when it is asked. */
function messageOf(thrown: unknown): string {
  try {
    return String(thrown instanceof Error ? thrown.message : thrown)
  } catch {
    return 'something was thrown that has no text'
  }
}

/** The `code` of a system error (`ENOENT`, `ECONNREFUSED`), or undefined. */
export function systemCode(thrown: unknown): string | undefined {
  if (typeof thrown !== 'object' || thrown === null || !('code' in thrown)) return undefined
  return typeof thrown.code === 'string' ? thrown.code : undefined
}

/**
 * MHV_NO_DESCRIPTORS where an operating-system call failed because this process or this machine has no file descriptor
 * left, else undefined: then whatever was asked is not to blame. For what is done before anything acts.
 */
export function outOfDescriptors(thrown: unknown, what: string): MhvError | undefined {
  const code = systemCode(thrown)
  if (code !== 'EMFILE' && code !== 'ENFILE') return undefined
  const whose = code === 'EMFILE' ? 'this process' : 'this machine'
  return mhvError('MHV_NO_DESCRIPTORS', `${what}: ${whose} has no file descriptor left (${code})`, {
    retryAfter: 1,
    cause: thrown,
  })
}
