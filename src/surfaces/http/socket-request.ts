import type { Agent, IncomingMessage } from 'node:http'
import { text as readText } from 'node:stream/consumers'
import { fromWire, MhvError, mhvError, systemCode, type WireError } from '../../core/errors.ts'
import type { Problem } from './problem.ts'

/** One request over the socket. */
export interface SocketRequest {
  readonly method: 'GET' | 'POST' | 'DELETE'
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
  readonly signal?: AbortSignal | undefined
}

export type AskSocket = (request: SocketRequest) => Promise<IncomingMessage>

/** The system's code of an error, or of what caused it; undefined for an error of the table that has no such cause. */
export function causeOf(error: unknown): string | undefined {
  const first = error instanceof Error && error.cause !== undefined ? error.cause : error
  return first instanceof MhvError ? undefined : systemCode(first)
}

/**
 * Not by `import`, which reads every export of `node:http`, also those for which Node loads the whole of `fetch`: a
 * tenth of what a short command costs.
 */
export const http = process.getBuiltinModule('node:http')

/** Makes requests over a socket. What is sent and then cut off rejects with the system's error as `cause`. */
export function asker(socketPath: string, agent: Agent): AskSocket {
  return ({ method, path, headers = {}, body, signal }) =>
    new Promise((resolve, reject) => {
      const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
      const type = bytes === undefined ? {} : { 'content-type': 'application/json', 'content-length': bytes.length }
      const sent = http.request({
        socketPath,
        agent,
        method,
        path,
        headers: { host: 'localhost', ...headers, ...type },
        ...(signal === undefined ? {} : { signal }),
      })
      sent.on('response', resolve)
      sent.on('error', (error) => reject(signal?.aborted ? signal.reason : cutOff(error, 'MHV_SHUTTING_DOWN')))
      sent.end(bytes)
    })
}

/** An error of the system as one of the table: whether it was cut off while something may have been done. */
export function cutOff(error: unknown, code: 'MHV_SHUTTING_DOWN' | 'MHV_RUN_INTERRUPTED'): unknown {
  const system = causeOf(error)
  if (system === undefined) return error
  const before = ['ECONNREFUSED', 'ENOENT'].includes(system)
  return mhvError(before ? 'MHV_SHUTTING_DOWN' : code, `the running instance has gone away (${system})`, {
    cause: error instanceof Error && error.cause !== undefined ? error.cause : error,
  })
}

/** The answer, unless it is a refusal, which is thrown. */
export async function succeeded(answer: IncomingMessage): Promise<IncomingMessage> {
  const { statusCode = 0 } = answer
  if (statusCode >= 200 && statusCode < 300) return answer
  throw errorOf(JSON.parse(await readText(answer)) as Problem)
}

/** The JSON of an answer that is no refusal. */
export async function readJson(answer: IncomingMessage): Promise<unknown> {
  return JSON.parse(await readText(await succeeded(answer)))
}

/** The error that a problem tells of, as it was thrown over there. */
export function errorOf({ code, detail, remedy, retry_after, details }: Problem): MhvError {
  const wire: WireError = {
    code: code === 'MHV_HTTP_BODY_TOO_LARGE' ? 'MHV_INPUT_INVALID' : code,
    message: detail,
    remedy,
    ...(details === undefined ? {} : { details }),
    ...(retry_after === undefined ? {} : { retry_after }),
  }
  return fromWire(wire)
}
