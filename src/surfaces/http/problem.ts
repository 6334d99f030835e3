import type { ErrorCode } from '../../core/error-table.ts'
import { type MhvError, mhvError, toMhvError } from '../../core/errors.ts'

/** Media type of every refusal: RFC 9457. */
export const PROBLEM_TYPE = 'application/problem+json'

/** The body of a refusal. */
export interface Problem {
  /** `urn:mahavishnu:error:CODE` */
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: ErrorCode
  readonly remedy: string
  /** Seconds; the header Retry-After has it too. */
  readonly retry_after?: number
  readonly details?: Readonly<Record<string, unknown>>
}

/** Refusals of the framework, by its own codes. Anything else that it refuses is a malformed request. */
const OF_FRAMEWORK: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'MHV_HTTP_BODY_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'MHV_HTTP_MEDIA_TYPE',
  FST_ERR_BAD_URL: 'MHV_HTTP_ROUTE',
}

/** Whatever was thrown while a request was answered, as a problem. */
export function problemOf(thrown: unknown): Problem {
  const error = refusalOfFramework(thrown) ?? toMhvError(thrown)
  const { code, remedy, details, retryAfter } = error
  const { http: status, summary: title } = error.spec
  return {
    type: `urn:mahavishnu:error:${code}`,
    title,
    status,
    detail: error.message,
    code,
    remedy,
    ...(retryAfter === undefined ? {} : { retry_after: retryAfter }),
    ...(details === undefined ? {} : { details }),
  }
}

function refusalOfFramework(thrown: unknown): MhvError | undefined {
  if (!(thrown instanceof Error) || !('statusCode' in thrown)) return undefined
  const status = Number(thrown.statusCode)
  if (!(status >= 400 && status < 500)) return undefined
  const code = 'code' in thrown ? String(thrown.code) : ''
  return mhvError(OF_FRAMEWORK[code] ?? 'MHV_HTTP_BODY', thrown.message)
}
