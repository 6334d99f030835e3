import { InvalidArgumentError, Option } from 'commander'
import { type JsonSchema, typeText } from '../../config/field-text.ts'
import type { PublicSchema } from '../json-schema.ts'
import { flagOf } from '../names.ts'
import { completes } from './completion-source.ts'

type Kind = 'text' | 'number' | 'boolean' | 'list' | 'map' | 'json' | 'text-or-json'

/** One field of an input on the command line. */
export interface Field {
  readonly name: string
  readonly kind: Kind
  readonly schema: JsonSchema
  readonly required: boolean
  readonly description: string
  /** Undefined where there is none. */
  readonly default: unknown
}

/** The fields of an object schema, in its order. */
export function fieldsOf(schema: PublicSchema): readonly Field[] {
  const properties = (schema.properties ?? {}) as Record<
    string,
    JsonSchema & { description?: string; default?: unknown }
  >
  const required = (schema.required ?? []) as readonly string[]
  return Object.entries(properties).map(([name, property]) => ({
    name,
    kind: kindOf(property),
    schema: property,
    required: required.includes(name),
    description: property.description ?? '',
    default: property.default,
  }))
}

function kindOf(schema: JsonSchema): Kind {
  if (schema.anyOf) {
    const kinds = schema.anyOf.filter((part) => part.type !== 'null').map(kindOf)
    if (kinds.every((kind) => kind === kinds[0])) return kinds[0] ?? 'json'
    return kinds.includes('text') ? 'text-or-json' : 'json'
  }
  if (schema.enum) return schema.enum.every((each) => typeof each === 'string') ? 'text' : 'json'
  const types = (typeof schema.type === 'string' ? [schema.type] : (schema.type ?? [])).filter(
    (type) => type !== 'null',
  )
  if (types.length !== 1) return 'json'
  const [type] = types
  if (type === 'string') return 'text'
  if (type === 'integer' || type === 'number') return 'number'
  if (type === 'boolean') return 'boolean'
  if (type === 'array') return schema.items && ['text', 'number'].includes(kindOf(schema.items)) ? 'list' : 'json'
  const values = schema.additionalProperties
  return typeof values === 'object' && kindOf(values) === 'text' ? 'map' : 'json'
}

const PLACEHOLDER: Readonly<Record<Exclude<Kind, 'boolean'>, string>> = {
  text: '<TEXT>',
  number: '<NUMBER>',
  list: '<VALUE>',
  map: '<KEY=VALUE>',
  json: '<JSON>',
  'text-or-json': '<TEXT|JSON>',
}

/** The option of a field. Defaults are only told: what is not given is left to the schema. */
export function optionOf(field: Field, heading: string): Option {
  const flag = flagOf(field.name)
  if (field.kind === 'boolean') {
    const flags = field.default === true ? flag.replace('--', '--no-') : flag
    return new Option(flags, helpText(field)).helpGroup(heading)
  }
  const option = new Option(`${flag} ${placeholder(field)}`, helpText(field)).helpGroup(heading)
  const choices = (field.schema.enum ?? field.schema.items?.enum)?.filter((each) => typeof each === 'string')
  if (choices !== undefined) completes(option, { kind: 'words', words: choices })
  if (field.kind === 'list')
    return option.argParser<unknown>((text, before) => [...asList(before), readItem(field, text)])
  if (field.kind === 'map')
    return option.argParser<unknown>((text, before) => ({ ...asMap(before), ...readPair(text) }))
  return option.argParser<unknown>((text) => readValue(field, text))
}

function placeholder({ kind, schema }: Field): string {
  if (schema.enum && kind === 'text') return `<${schema.enum.join('|')}>`
  return PLACEHOLDER[kind === 'boolean' ? 'text' : kind]
}

function helpText(field: Field): string {
  const { kind, description, default: declared, required } = field
  const facts = [
    typeFact(field),
    kind === 'list' || kind === 'map' ? 'may be repeated' : '',
    required ? 'required' : '',
    declared === undefined || declared === '' || kind === 'boolean' ? '' : `default: ${shown(declared)}`,
  ].filter((fact) => fact !== '')
  const brackets = facts.length === 0 ? '' : `(${facts.join('; ')})`
  return [description, brackets].filter((part) => part !== '').join(' ')
}

/** What the placeholder does not say already. */
function typeFact({ kind, schema }: Field): string {
  if (kind !== 'text' && kind !== 'number') return ''
  if (schema.enum) return ''
  const text = typeText(schema).replace(/, or null$/, '')
  return text === 'text' || text === 'a number' ? '' : text
}

function shown(value: unknown): string {
  if (typeof value === 'string') return value
  const text = JSON.stringify(value)
  return text === '[]' || text === '{}' ? 'none' : text
}

const asList = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
const asMap = (value: unknown) => (typeof value === 'object' && value !== null ? value : {})

function readItem({ schema }: Field, text: string): unknown {
  return schema.items !== undefined && kindOf(schema.items) === 'number' ? readNumber(text) : text
}

function readValue({ kind }: Field, text: string): unknown {
  if (kind === 'number') return readNumber(text)
  if (kind === 'json' || (kind === 'text-or-json' && /^\s*[{[]/.test(text))) return readJson(text)
  return text
}

function readNumber(text: string): number {
  if (!/^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(text)) throw new InvalidArgumentError('It is no number.')
  return Number(text)
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new InvalidArgumentError('It is no JSON.')
  }
}

/** `KEY=VALUE`; the value may be empty and may have `=` in it. */
export function readPair(text: string): Record<string, string> {
  const at = text.indexOf('=')
  if (at <= 0) throw new InvalidArgumentError('It is not of the form KEY=VALUE.')
  return { [text.slice(0, at)]: text.slice(at + 1) }
}
