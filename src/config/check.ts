import { z } from 'zod'
import type { ErrorCode } from '../core/error-table.ts'
import { didYouMean } from '../core/suggest.ts'
import { jsonSchemaOf, typeText } from './field-text.ts'
import { type Problem, shownKey, shownPath } from './problems.ts'
import { kindText, nearestNode, type SourceEntry, type SourceNode, toPlain } from './source.ts'

/** How what is found is reported. */
export interface CheckReport {
  readonly invalid: ErrorCode
  /** The problem of a key that the schema does not have; `known` are its neighbours. */
  unknownKey(path: readonly string[], entry: SourceEntry, known: readonly string[]): readonly Problem[]
  add(problem: Problem): void
}

/** `there is no "ssh.max_conections"; did you mean "max_connections"?` */
export function unknownKeyMessage(path: readonly string[], known: readonly string[]): string {
  const key = path.at(-1) ?? ''
  const shown = shownKey(key) === `"${key}"` ? `there is no "${shownPath(path)}"` : `there is ${shownKey(key)}`
  return `${shown}${didYouMean(key, known)}`
}

type Schema = z.core.$ZodType

/** The schema that a default, an optional and the like is put around; undefined where there is none. */
export function wrapped(schema: Schema): Schema | undefined {
  if (schema instanceof z.ZodPipe) return schema.in
  const wraps =
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodReadonly ||
    schema instanceof z.ZodNonOptional ||
    schema instanceof z.ZodCatch
  return wraps ? schema.unwrap() : undefined
}

function unwrap(schema: Schema): Schema {
  const inner = wrapped(schema)
  return inner === undefined ? schema : unwrap(inner)
}

/** A section: a map whose keys are settings of their own. */
export function asSection(schema: Schema): z.ZodObject | undefined {
  const inner = unwrap(schema)
  return inner instanceof z.ZodObject ? inner : undefined
}

/**
 * Checks what a layer has, key by key: unknown keys, and every value against the schema of its field. A layer is
 * partial, so what is missing is no problem, and rules over several fields wait for the merged whole.
 */
export function checkPartial(schema: Schema, node: SourceNode, path: readonly string[], report: CheckReport): void {
  const section = asSection(schema)
  if (section) checkSection(section, node, path, report)
  else checkValue(schema, node, path, report)
}

function checkSection(section: z.ZodObject, node: SourceNode, path: readonly string[], report: CheckReport): void {
  if (node.kind === 'scalar' && node.value === null) return
  if (node.kind !== 'map') {
    const message = `${subject(path)} must be a map of keys and values, not ${kindText(node)}`
    report.add({ code: report.invalid, message, place: node.place, key: shownPath(path) })
    return
  }
  for (const [key, entry] of node.entries) {
    const field = ownField(section, key)
    if (field) checkPartial(field, entry.node, [...path, key], report)
    else if (!isLoose(section)) reportUnknown(section, [...path, key], entry, report)
  }
}

function ownField(section: z.ZodObject, key: string): Schema | undefined {
  return Object.hasOwn(section.shape, key) ? section.shape[key] : undefined
}

function isLoose(section: z.ZodObject): boolean {
  const { catchall } = section.def
  return catchall !== undefined && !(catchall instanceof z.ZodNever)
}

function reportUnknown(section: z.ZodObject, path: readonly string[], entry: SourceEntry, report: CheckReport): void {
  for (const problem of report.unknownKey(path, entry, Object.keys(section.shape))) report.add(problem)
}

/** A value as a whole: first the keys of maps inside it, since zod would drop the unknown ones without a word. */
function checkValue(schema: Schema, node: SourceNode, path: readonly string[], report: CheckReport): void {
  const inner = unwrap(schema)
  const before = { found: false }
  const counting: CheckReport = {
    ...report,
    add(problem) {
      before.found = true
      report.add(problem)
    },
  }
  if (inner instanceof z.ZodArray && node.kind === 'list') {
    for (const [index, item] of node.items.entries())
      checkPartial(inner.element, item, [...path, String(index)], counting)
  } else if (inner instanceof z.ZodRecord && node.kind === 'map') {
    for (const [key, entry] of node.entries) {
      checkKey(inner.keyType, key, entry, path, counting)
      checkPartial(inner.valueType, entry.node, [...path, key], counting)
    }
  }
  if (before.found) return
  const parsed = z.safeParse(schema, plainFor(schema, node))
  if (!parsed.success) reportIssues(parsed.error.issues, schema, node, path, report)
}

/** The plain value, in which a section with nothing behind its key is an empty one. */
export function plainFor(schema: Schema, node: SourceNode): unknown {
  const inner = unwrap(schema)
  if (node.kind === 'scalar') return node.value === null && inner instanceof z.ZodObject ? {} : node.value
  if (node.kind === 'list') {
    return inner instanceof z.ZodArray ? node.items.map((item) => plainFor(inner.element, item)) : toPlain(node)
  }
  const entries = [...node.entries].map(([key, entry]) => {
    const field = valueSchema(inner, key)
    return [key, field ? plainFor(field, entry.node) : toPlain(entry.node)]
  })
  return Object.fromEntries(entries)
}

/** The schema of a key's value in a map. */
function valueSchema(map: Schema, key: string): Schema | undefined {
  if (map instanceof z.ZodRecord) return map.valueType
  return map instanceof z.ZodObject ? ownField(map, key) : undefined
}

function checkKey(
  schema: Schema,
  key: string,
  { place }: SourceEntry,
  path: readonly string[],
  report: CheckReport,
): void {
  const parsed = z.safeParse(schema, key)
  if (parsed.success) return
  const [issue] = parsed.error.issues
  const why = (issue && ownMessage(issue)) ?? `must be ${textOf(schema)}`
  report.add({ code: report.invalid, message: `a key of ${subject(path)} ${why}`, place, key: shownPath(path) })
}

/** Reports what zod found in a value, each at the place that it is about. */
export function reportIssues(
  issues: readonly z.core.$ZodIssue[],
  schema: Schema,
  node: SourceNode,
  path: readonly string[],
  report: CheckReport,
): void {
  for (const issue of issues) {
    const at = nearestNode(node, issue.path)
    const full = [...path, ...issue.path.map(String)]
    const message = `${subject(full)} ${issueText(issue, schema, node, at)}`
    report.add({ code: report.invalid, message, place: at.place, key: shownPath(full) })
  }
}

function subject(path: readonly string[]): string {
  return path.length === 0 ? 'this' : shownPath(path)
}

function issueText(issue: z.core.$ZodIssue, schema: Schema, node: SourceNode, at: SourceNode): string {
  const field = issue.path.length === 0 ? schema : schemaAt(schema, issue.path)
  const parent = nearestNode(node, issue.path.slice(0, -1))
  const missing = issue.path.length > 0 && at === parent
  if (missing && issue.code === 'invalid_type') return `is missing: it must be ${textOf(field)}`
  if (issue.code === 'unrecognized_keys') return `has keys that do not exist: ${issue.keys.map(shownKey).join(', ')}`
  const own = ownMessage(issue)
  if (own !== undefined && !quotes(own, at)) return own
  const kind = issue.code === 'invalid_type' ? `, not ${kindText(at)}` : ''
  return `must be ${textOf(field)}${kind}`
}

function textOf(field: Schema | undefined): string {
  return field === undefined ? 'another value' : typeText(jsonSchemaOf(field))
}

/** The schema of what an issue is about, as far as it can be followed. */
function schemaAt(schema: Schema, path: readonly PropertyKey[]): Schema | undefined {
  let found: Schema | undefined = schema
  for (const step of path) {
    const inner: Schema | undefined = found && unwrap(found)
    found = inner instanceof z.ZodArray ? inner.element : inner && valueSchema(inner, String(step))
  }
  return found
}

/** The message that the schema's author wrote, if it is not one of zod's own. */
function ownMessage(issue: z.core.$ZodIssue): string | undefined {
  if (/^(Invalid |Too |Unrecognized |Expected )/.test(issue.message)) return undefined
  return issue.message
}

/** Whether a message has a value of the layer in it: a schema's author may not have thought of secrets. */
function quotes(message: string, node: SourceNode): boolean {
  if (node.kind === 'map') return [...node.entries.values()].some((entry) => quotes(message, entry.node))
  if (node.kind === 'list') return node.items.some((item) => quotes(message, item))
  const text = String(node.value)
  return text.length > 2 && message.includes(text)
}
