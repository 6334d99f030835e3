import { isDeepStrictEqual } from 'node:util'
import { z } from 'zod'
import type { IncomingMessage } from '../client/mqtt-session.ts'
import { textOf } from './message-output.ts'

/** What a message has to be like. All parts that are given have to hold. */
export const conditionInput = z
  .strictObject({
    contains: z.string().min(1).max(10_000).optional().describe('text that the payload has in it'),
    path: z
      .string()
      .max(1_000)
      .regex(/^(?:\/(?:[^~/]|~[01])*)*$/, { error: 'must be a JSON pointer: /state/name' })
      .optional()
      .describe('JSON pointer (RFC 6901) into a payload of JSON: there has to be something'),
    equals: z.unknown().optional().describe('value that has to be there, with path'),
  })
  .refine(({ contains, path }) => contains !== undefined || path !== undefined, { error: 'needs contains or path' })

export type Condition = z.output<typeof conditionInput>

export function holds({ contains, path, equals }: Condition, message: Pick<IncomingMessage, 'payload'>): boolean {
  const text = textOf(message.payload)
  if (text === undefined) return false
  if (contains !== undefined && !text.includes(contains)) return false
  if (path === undefined) return true
  const value = valueAt(text, path)
  if (value === undefined) return false
  return equals === undefined || isDeepStrictEqual(value, equals)
}

function valueAt(text: string, path: string): unknown {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  const keys = path.split('/').slice(1)
  for (const key of keys.map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined
    value = (value as Record<string, unknown>)[key]
  }
  return value
}
