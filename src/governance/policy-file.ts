import { readFile } from 'node:fs/promises'
import { LineCounter, parseDocument } from 'yaml'
import { z } from 'zod'
import { TIERS } from '../core/context.ts'
import { mhvError, systemCode } from '../core/errors.ts'
import { EFFECTS } from '../core/operation.ts'
import { didYouMean } from '../core/suggest.ts'
import { DECISIONS, NO_POLICY, type Policy } from './policy.ts'

/** Number of the policy file's format. */
export const POLICY_FORMAT = 1

const patterns = z.array(z.string().min(1).max(200)).min(1)

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
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const where = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return `${file}:${line}:${col}`
  }
  const [broken] = document.errors
  if (broken) throw mhvError('MHV_POLICY_INVALID', `${where(broken.pos[0])}: ${broken.message}`)

  const parsed = policySchema.safeParse(document.toJS({ maxAliasCount: 0 }))
  if (!parsed.success) {
    const issue = parsed.error.issues[0] as z.core.$ZodIssue
    const at = offsetOf(document, issue)
    throw mhvError('MHV_POLICY_INVALID', `${where(at)}: ${explain(issue)}`, { details: { path: issue.path } })
  }
  const ids = parsed.data.rules.map((rule) => rule.id)
  const twin = ids.findIndex((id, index) => ids.indexOf(id) !== index)
  if (twin >= 0) {
    const at = nodeOffset(document.getIn(['rules', twin], true))
    throw mhvError('MHV_POLICY_INVALID', `${where(at)}: two rules are called "${ids[twin]}"`)
  }
  return { name: parsed.data.name, file, rules: parsed.data.rules }
}

function explain(issue: z.core.$ZodIssue): string {
  const path = issue.path.join('.') || 'the file'
  if (issue.code !== 'unrecognized_keys') return `${path}: ${issue.message}`
  const known = issue.path[0] === 'rules' ? Object.keys(ruleSchema.shape) : Object.keys(policySchema.shape)
  const [key] = issue.keys
  return `${path}: there is no "${key}"${didYouMean(key ?? '', known)}`
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
