import { mhvError } from '../../core/errors.ts'

/** The body as an object; none at all counts as an empty one. */
export function bodyObject(body: unknown): Record<string, unknown> {
  if (body === undefined) return {}
  if (typeof body === 'object' && body !== null && !Array.isArray(body)) return body as Record<string, unknown>
  throw mhvError('MHV_HTTP_BODY', 'the body must be a JSON object')
}
