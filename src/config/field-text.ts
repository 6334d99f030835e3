import { z } from 'zod'
import { SECRET_MARK, SECRET_REFERENCE_FORM } from '../core/secret-reference.ts'

/** The part of JSON Schema that is read here. */
export interface JsonSchema {
  readonly type?: string | readonly string[]
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly minimum?: number
  readonly maximum?: number
  readonly exclusiveMinimum?: number
  readonly exclusiveMaximum?: number
  readonly minLength?: number
  readonly maxLength?: number
  readonly pattern?: string
  readonly format?: string
  readonly items?: JsonSchema
  readonly additionalProperties?: JsonSchema | boolean
  readonly anyOf?: readonly JsonSchema[]
  readonly [SECRET_MARK]?: boolean
}

/** What a field takes, as JSON Schema. */
export function jsonSchemaOf(schema: z.core.$ZodType): JsonSchema {
  return z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonSchema
}

/** What a field takes, in words: `a whole number from 1 to 100`, `one of debug, info`, `a list of text`. */
export function typeText(schema: JsonSchema): string {
  if (schema[SECRET_MARK]) return SECRET_REFERENCE_FORM
  if (schema.enum) return `one of ${schema.enum.map(String).join(', ')}`
  if (schema.const !== undefined) return String(schema.const)
  if (schema.anyOf) return [...new Set(schema.anyOf.map(typeText))].join(', or ')
  if (Array.isArray(schema.type)) return schema.type.map((type) => typeText({ ...schema, type })).join(', or ')
  switch (schema.type) {
    case 'integer':
      return `a whole number${rangeText(schema)}`
    case 'number':
      return `a number${rangeText(schema)}`
    case 'boolean':
      return 'true or false'
    case 'null':
      return 'null'
    case 'string':
      return stringText(schema)
    case 'array':
      return listText(schema.items)
    case 'object':
      return typeof schema.additionalProperties === 'object'
        ? `a map to ${typeText(schema.additionalProperties)}`
        : 'a map'
    default:
      return 'a value'
  }
}

function rangeText({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: JsonSchema): string {
  // zod bounds whole numbers by what a double holds exactly; that says nothing to a reader.
  const low = minimum === Number.MIN_SAFE_INTEGER ? undefined : minimum
  const high = maximum === Number.MAX_SAFE_INTEGER ? undefined : maximum
  if (low !== undefined && high !== undefined) return ` from ${low} to ${high}`
  const parts: string[] = []
  if (low !== undefined) parts.push(`of at least ${low}`)
  if (exclusiveMinimum !== undefined) parts.push(`above ${exclusiveMinimum}`)
  if (exclusiveMaximum !== undefined) parts.push(`below ${exclusiveMaximum}`)
  if (high !== undefined) parts.push(`of at most ${high}`)
  return parts.length === 0 ? '' : ` ${parts.join(', ')}`
}

/** A pattern that only keeps control characters out says nothing that a reader would not expect. */
const ANY_TEXT = /^\^\[\^(\\[0rn])+\][*+]\$$/

function stringText({ minLength, maxLength, pattern, format }: JsonSchema): string {
  const parts: string[] = []
  if (format !== undefined && format !== 'regex') parts.push(`in the form ${format}`)
  else if (pattern !== undefined && !ANY_TEXT.test(pattern)) parts.push(`that matches ${pattern}`)
  if (minLength === 1) parts.push('that is not empty')
  else if (minLength !== undefined && minLength > 1) parts.push(`of at least ${minLength} characters`)
  if (maxLength !== undefined) parts.push(`of at most ${maxLength} characters`)
  return `text${parts.length === 0 ? '' : ` ${parts.join(', ')}`}`
}

function listText(items: JsonSchema | undefined): string {
  if (items?.enum) return `a list of any of ${items.enum.map(String).join(', ')}`
  return items ? `a list of ${typeText(items).replace(/^an? /, '')}` : 'a list'
}

/** JSON types that a field takes, for reading a value from plain text. */
export function jsonTypes(schema: JsonSchema): ReadonlySet<string> {
  if (schema.enum) return new Set(schema.enum.map(jsonTypeOf))
  if (schema.const !== undefined) return new Set([jsonTypeOf(schema.const)])
  if (schema.anyOf) return new Set(schema.anyOf.flatMap((part) => [...jsonTypes(part)]))
  if (schema.type === undefined) return new Set(['string', 'number', 'boolean', 'null', 'array', 'object'])
  const types = typeof schema.type === 'string' ? [schema.type] : schema.type
  return new Set(types.map((type) => (type === 'integer' ? 'number' : type)))
}

function jsonTypeOf(value: unknown): string {
  if (value === null) return 'null'
  return Array.isArray(value) ? 'array' : typeof value
}
