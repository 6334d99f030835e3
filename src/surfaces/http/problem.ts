import { ERROR_TABLE, type ErrorCode } from '../../core/error-table.ts'
import { type MhvError, toMhvError } from '../../core/errors.ts'

/** Media type of every refusal: RFC 9457. */
export const PROBLEM_TYPE = 'application/problem+json'

/** What is refused before a request reaches the runtime. Codes of the runtime have their row in the table of errors. */
export const HTTP_REFUSALS = {
  MHV_HTTP_TOKEN: {
    status: 401,
    title: 'The request has no valid token.',
    remedy: 'Send `Authorization: Bearer TOKEN` with the content of http.token in the instance folder.',
  },
  MHV_HTTP_ORIGIN: {
    status: 403,
    title: 'Pages of this origin may not ask here.',
    remedy: 'Add the origin to http.allowed_origins, if its pages should be allowed.',
  },
  MHV_HTTP_HOST: {
    status: 421,
    title: 'This server is not known by that name.',
    remedy: 'Use the address that it listens on, or add the name to http.allowed_hosts.',
  },
  MHV_HTTP_ROUTE: {
    status: 404,
    title: 'There is nothing at this path for this method.',
    remedy: 'See /openapi.json for what there is.',
  },
  MHV_HTTP_BODY: {
    status: 400,
    title: 'The body is no JSON object.',
    remedy: 'Send one JSON object in UTF-8.',
  },
  MHV_HTTP_BODY_TOO_LARGE: {
    status: 413,
    title: 'The body is larger than this server takes.',
    remedy: 'Send less, or raise http.max_body_bytes.',
  },
  MHV_HTTP_MEDIA_TYPE: {
    status: 415,
    title: 'The body has a media type that is not taken here.',
    remedy: 'Send JSON with `Content-Type: application/json`.',
  },
  MHV_HTTP_RATE_LIMITED: {
    status: 429,
    title: 'Too many requests.',
    remedy: 'Call again after retry_after seconds, or raise http.rate_limit_per_second.',
  },
} as const satisfies Readonly<Record<`MHV_HTTP_${string}`, HttpRow>>

interface HttpRow {
  readonly status: number
  readonly title: string
  readonly remedy: string
}

export type HttpCode = keyof typeof HTTP_REFUSALS
export type ProblemCode = HttpCode | ErrorCode

/** The body of a refusal. */
export interface Problem {
  /** `urn:mahavishnu:error:CODE` */
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: ProblemCode
  readonly remedy: string
  /** Seconds; the header Retry-After has it too. */
  readonly retry_after?: number
  readonly details?: Readonly<Record<string, unknown>>
}

/** A refusal of this surface itself. */
export class HttpRefusal extends Error {
  readonly code: HttpCode
  readonly retryAfter: number | undefined

  constructor(code: HttpCode, message: string, retryAfter?: number) {
    super(message)
    this.name = 'HttpRefusal'
    this.code = code
    this.retryAfter = retryAfter
  }
}

/** Refusals of the framework, by its own codes. Anything else that it refuses is a malformed request. */
const OF_FRAMEWORK: Readonly<Record<string, HttpCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'MHV_HTTP_BODY_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'MHV_HTTP_MEDIA_TYPE',
  FST_ERR_BAD_URL: 'MHV_HTTP_ROUTE',
}

/** Whatever was thrown while a request was answered, as a problem. */
export function problemOf(thrown: unknown): Problem {
  const refusal = thrown instanceof HttpRefusal ? thrown : refusalOfFramework(thrown)
  if (refusal !== undefined) {
    const { status, title, remedy } = HTTP_REFUSALS[refusal.code]
    return {
      type: typeOf(refusal.code),
      title,
      status,
      detail: refusal.message,
      code: refusal.code,
      remedy,
      ...(refusal.retryAfter === undefined ? {} : { retry_after: refusal.retryAfter }),
    }
  }
  return problemOfError(toMhvError(thrown))
}

/** The status that a code is answered with. */
export function statusOf(code: ProblemCode): number {
  return isHttpCode(code) ? HTTP_REFUSALS[code].status : ERROR_TABLE[code].http
}

function isHttpCode(code: ProblemCode): code is HttpCode {
  return Object.hasOwn(HTTP_REFUSALS, code)
}

function refusalOfFramework(thrown: unknown): HttpRefusal | undefined {
  if (!(thrown instanceof Error) || !('statusCode' in thrown)) return undefined
  const status = Number(thrown.statusCode)
  if (!(status >= 400 && status < 500)) return undefined
  const code = 'code' in thrown ? String(thrown.code) : ''
  return new HttpRefusal(OF_FRAMEWORK[code] ?? 'MHV_HTTP_BODY', thrown.message)
}

function problemOfError(error: MhvError): Problem {
  const { code, remedy, details, retryAfter } = error
  const { http: status, summary: title } = error.spec
  return {
    type: typeOf(code),
    title,
    status,
    detail: error.message,
    code,
    remedy,
    ...(retryAfter === undefined ? {} : { retry_after: retryAfter }),
    ...(details === undefined ? {} : { details }),
  }
}

function typeOf(code: ProblemCode): string {
  return `urn:mahavishnu:error:${code}`
}
