import { readFile } from 'node:fs/promises'
import { LineCounter, parseDocument, visit } from 'yaml'
import { z } from 'zod'
import { TIERS } from '../core/context.ts'
import { type MhvError, mhvError, systemCode } from '../core/errors.ts'
import { EFFECTS } from '../core/operation.ts'
import { didYouMean } from '../core/suggest.ts'
import { DECISIONS, NO_POLICY, type Policy } from './policy.ts'

/** Number of the policy file's format. */
export const POLICY_FORMAT = 1

/** Largest policy file, in characters. */
const MAX_POLICY_LENGTH = 4 * 1024 * 1024

const patterns = z.array(z.string().min(1).max(1_000)).min(1)

const ruleSchema = z.strictObject({
  id: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'letters, digits, dots, dashes and underscores'),
  decision: z.enum(DECISIONS),
  principals: patterns.optional(),
  workers: patterns.optional(),
  operations: patterns.optional(),
  targets: patterns.optional(),
  tags: patterns.optional(),
  tiers: z.array(z.enum(TIERS)).min(1).optional(),
  effects: z.array(z.enum(EFFECTS)).min(1).optional(),
})

/** The format of a policy file. */
export const policySchema = z.strictObject({
  version: z.literal(POLICY_FORMAT),
  name: z.string().min(1).max(100),
  rules: z.array(ruleSchema).max(10_000),
})

/** Reads a policy; a file that is not there is no policy, and then nothing is allowed. Throws MHV_POLICY_INVALID. */
export async function loadPolicy(file: string): Promise<Policy> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return { ...NO_POLICY, file }
    throw mhvError('MHV_POLICY_INVALID', `${file}: cannot be read (${systemCode(error) ?? 'error'})`, { cause: error })
  }
  return parsePolicy(file, text)
}

/** A policy from its text; `file` is only named in messages. */
export function parsePolicy(file: string, text: string): Policy {
  if (text.length > MAX_POLICY_LENGTH) {
    throw mhvError('MHV_POLICY_INVALID', `${file}: longer than ${MAX_POLICY_LENGTH} characters`)
  }
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const refuse = (offset: number, why: string, details?: Record<string, unknown>) => {
    const { line, col } = lines.linePos(offset)
    return mhvError('MHV_POLICY_INVALID', `${file}:${Math.max(line, 1)}:${Math.max(col, 1)}: ${why}`, { details })
  }
  const [broken] = document.errors
  if (broken) throw refuse(broken.pos[0], broken.message)

  const parsed = policySchema.safeParse(valuesOf(document, refuse))
  if (!parsed.success) {
    const { issues } = parsed.error
    // A mistyped name says more than that the right one is missing.
    const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? (issues[0] as z.core.$ZodIssue)
    throw refuse(offsetOf(document, issue), explain(issue), { path: issue.path })
  }
  const ids = parsed.data.rules.map((rule) => rule.id)
  const twin = ids.findIndex((id, index) => ids.indexOf(id) !== index)
  if (twin >= 0) {
    throw refuse(nodeOffset(document.getIn(['rules', twin], true)), `two rules are called "${ids[twin]}"`)
  }
  return { name: parsed.data.name, file, rules: parsed.data.rules }
}

function valuesOf(document: ReturnType<typeof parseDocument>, refuse: (offset: number, why: string) => MhvError) {
  let alias: unknown
  visit(document, {
    Alias: (_key, node) => {
      alias = node
      return visit.BREAK
    },
  })
  // A rule that stands somewhere else than where it is read is a rule that is overlooked.
  if (alias !== undefined) throw refuse(nodeOffset(alias), 'aliases (*) are not supported in a policy')
  return document.toJS()
}

function explain(issue: z.core.$ZodIssue): string {
  const path = issue.path.join('.') || 'the file'
  if (issue.code === 'unrecognized_keys') {
    const known = issue.path[0] === 'rules' ? Object.keys(ruleSchema.shape) : Object.keys(policySchema.shape)
    const [key] = issue.keys
    return `${path}: there is no "${key}"${didYouMean(key ?? '', known)}`
  }
  if (path === 'version') return `version: this program reads policies of format ${POLICY_FORMAT} only`
  return `${path}: ${issue.message}`
}

/** Offset in the text of the value that an issue is about, or of the nearest thing around it. */
function offsetOf(document: ReturnType<typeof parseDocument>, issue: z.core.$ZodIssue): number {
  const path = issue.code === 'unrecognized_keys' ? [...issue.path, issue.keys[0]] : [...issue.path]
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true)
    if (node !== undefined) return nodeOffset(node)
  }
  return nodeOffset(document.contents)
}

function nodeOffset(node: unknown): number {
  if (typeof node !== 'object' || node === null || !('range' in node) || !Array.isArray(node.range)) return 0
  return Number(node.range[0])
}
