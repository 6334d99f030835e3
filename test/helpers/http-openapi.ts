/** Requests that an OpenAPI document allows, and some that it does not; and whether it allows an answer. */
import { AjvJsonSchemaValidator } from '@modelcontextprotocol/client/validators/ajv'
import * as fc from 'fast-check'
import type { Answer, Ask } from './http-server.ts'

type Json = Readonly<Record<string, unknown>>

interface Parameter {
  readonly name: string
  readonly in: 'path' | 'query' | 'header'
  readonly required: boolean
  readonly schema: Json
}

interface Content {
  readonly content?: Readonly<Record<string, { readonly schema: Json }>>
}

interface OperationObject {
  readonly operationId: string
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: Content & { readonly required?: boolean }
  readonly responses: Readonly<Record<string, Content>>
}

export interface Described {
  readonly method: string
  readonly path: string
  readonly operation: OperationObject
}

/** Every operation of a document. */
export function describedOperations(document: Json): readonly Described[] {
  return Object.entries(document.paths as Readonly<Record<string, Readonly<Record<string, OperationObject>>>>).flatMap(
    ([path, item]) =>
      Object.entries(item).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  )
}

/** Values of a schema, of the kinds that are in the document. Throws for a keyword that it does not know. */
export function valuesOf(
  schema: Json,
  known: Readonly<Record<string, fc.Arbitrary<unknown>>> = {},
): fc.Arbitrary<unknown> {
  if (Array.isArray(schema.enum)) return fc.constantFrom(...(schema.enum as unknown[]))
  if ('const' in schema) return fc.constant(schema.const)
  if (Array.isArray(schema.anyOf)) return fc.oneof(...(schema.anyOf as Json[]).map((each) => valuesOf(each, known)))
  switch (schema.type) {
    case 'string':
      return texts(schema)
    case 'integer':
    case 'number':
      return numbers(schema)
    case 'boolean':
      return fc.boolean()
    case 'null':
      return fc.constant(null)
    case 'array':
      return fc.array(valuesOf(schema.items as Json, known), { maxLength: 5 })
    case 'object':
      return objects(schema, known)
    case undefined:
      return fc.jsonValue()
    default:
      throw new Error(`unknown type ${String(schema.type)}`)
  }
}

function texts({ format, minLength = 0, maxLength = 300, pattern }: Json): fc.Arbitrary<string> {
  if (format === 'date-time') {
    return fc
      .date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true })
      .map((date) => date.toISOString())
  }
  if (typeof pattern === 'string') return fc.stringMatching(new RegExp(pattern))
  const bounds = { minLength: Number(minLength), maxLength: Math.min(Number(maxLength), 300) }
  return fc.oneof(
    fc.string(bounds),
    fc.string({ ...bounds, unit: 'binary' }),
    fc.string({ ...bounds, unit: 'grapheme' }),
  )
}

function numbers({ type, minimum, maximum, exclusiveMinimum }: Json): fc.Arbitrary<number> {
  const min = Number(minimum ?? exclusiveMinimum ?? (type === 'integer' ? -1_000_000 : -1e9))
  const max = Number(maximum ?? 1e9)
  const plain =
    type === 'integer'
      ? fc.integer({ min, max })
      : fc.double({ min, max, minExcluded: exclusiveMinimum !== undefined, noNaN: true, noDefaultInfinity: true })
  return plain.map((value) => (Object.is(value, -0) ? 0 : value))
}

function objects(schema: Json, known: Readonly<Record<string, fc.Arbitrary<unknown>>>): fc.Arbitrary<unknown> {
  const properties = (schema.properties ?? {}) as Readonly<Record<string, Json>>
  const required = (schema.required ?? []) as string[]
  const fields = Object.entries(properties).map(([name, each]) => [name, known[name] ?? valuesOf(each, known)] as const)
  return fc.record(Object.fromEntries(fields), { requiredKeys: required })
}

/** Values that a schema does not allow, or hardly ever. */
function anything(): fc.Arbitrary<unknown> {
  return fc.oneof(
    fc.jsonValue(),
    fc.constantFrom(null, [], {}, '', -1, 1e308, '\0', { __proto__: null, constructor: 1 }),
  )
}

export interface RequestOptions {
  /** Values for names, where those of the schema would hardly ever be met: targets, ids of runs. */
  readonly known?: Readonly<Record<string, fc.Arbitrary<unknown>>>
  readonly valid: boolean
}

/** Requests for one operation. Invalid ones differ in one field, have one that is not there, or have no object as body. */
export function requestsOf({ method, path, operation }: Described, options: RequestOptions): fc.Arbitrary<Ask> {
  const { known = {}, valid } = options
  const value = (name: string, schema: Json) => {
    const right = known[name] ?? valuesOf(schema, known)
    return valid ? right : fc.oneof(right, anything())
  }
  const parameters = operation.parameters ?? []
  const group = (where: Parameter['in']) =>
    fc.record(
      Object.fromEntries(
        parameters.filter((each) => each.in === where).map((each) => [each.name, value(each.name, each.schema)]),
      ),
      { requiredKeys: parameters.filter((each) => each.in === where && each.required).map((each) => each.name) },
    )
  const schema = operation.requestBody?.content?.['application/json']?.schema
  const body = schema === undefined ? fc.constant(undefined) : bodies(schema, options)
  const strange = valid
    ? fc.constant({})
    : fc.oneof(fc.constant({}), fc.dictionary(fc.string({ maxLength: 10 }), fc.string()))
  return fc
    .record({ path: group('path'), query: group('query'), headers: group('header'), body, strange })
    .map((made) => ({
      method,
      path: pathOf(path, made.path, { ...made.query, ...made.strange }),
      headers: headersOf(made.headers),
      ...(made.body === undefined ? {} : { body: made.body }),
    }))
}

function bodies(schema: Json, { known = {}, valid }: RequestOptions): fc.Arbitrary<unknown> {
  const right = valuesOf(schema, known)
  if (valid) return right
  const wrong = fc
    .tuple(right, fc.constantFrom(...Object.keys((schema.properties ?? {}) as Json), 'stranger'), anything())
    .map(([body, name, other]) => ({ ...(body as Json), [name]: other }))
  return fc.oneof(wrong, anything(), fc.string())
}

/** Paths are written as they are sent: a dot or nothing between two slashes would be another path, so it is left out. */
function pathOf(pattern: string, values: Json, query: Json): string {
  const path = pattern.replace(/\{(\w+)\}/g, (_match, name: string) => {
    const text = encoded(values[name])
    return ['', '.', '..'].includes(text) ? 'x' : text
  })
  const search = Object.entries(query).map(([name, value]) => `${encoded(name)}=${encoded(value)}`)
  return search.length === 0 ? path : `${path}?${search.join('&')}`
}

function encoded(value: unknown): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  return encodeURIComponent(text.toWellFormed())
}

function headersOf(values: Json): Record<string, string> {
  // What no header can hold is not sent.
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, encoded(value).replace(/[^\x21-\x7e]/g, '_')]),
  )
}

/** Why the document does not allow an answer; null when it does. */
export function undocumented(document: Json, { operation }: Described, answer: Answer): string | null {
  if (answer.status === 500) return `500: ${answer.text}`
  const response = operation.responses[String(answer.status)]
  if (response === undefined) return `status ${answer.status} is not documented: ${answer.text.slice(0, 300)}`
  if (response.content === undefined) return answer.text === '' ? null : 'it has a body'
  const type = (answer.headers['content-type'] ?? '').split(';')[0] ?? ''
  const schema = response.content[type]?.schema
  if (schema === undefined) return `${type} is not documented for status ${answer.status}`
  if (answer.json === undefined) return null
  const validate = validatorOf(document, schema)
  const result = validate(answer.json)
  return result.valid ? null : `${result.errorMessage}: ${answer.text.slice(0, 300)}`
}

const validators = new WeakMap<
  object,
  (value: unknown) => { readonly valid: boolean; readonly errorMessage?: string | undefined }
>()

function validatorOf(document: Json, schema: Json) {
  const known = validators.get(schema)
  if (known !== undefined) return known
  const made = new AjvJsonSchemaValidator().getValidator({ ...schema, components: document.components } as never)
  validators.set(schema, made)
  return made
}
