import { z } from 'zod'
import type { SecretReference } from './context.ts'

/** A reference, taken apart. */
export type ParsedReference =
  | { readonly kind: 'env'; readonly name: string }
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'exec'; readonly argv: readonly [program: string, ...args: string[]] }

/** Says what a reference looks like and never what was given: that may be the secret itself. */
export const SECRET_REFERENCE_FORM = 'a reference to a secret: env:NAME, file:PATH, or exec: with a list of arguments'

const TEXT = /^(?:env:[A-Za-z_][A-Za-z0-9_]*|file:[^\0\r\n]+|exec:[ \t]*[^\s\0-][^\0\r\n]*)$/
const WORD = /^[^\0]*$/
const PROGRAM = /^[^\0-][^\0]*$/

/** Key of the metadata by which such a field is recognised, so that its value is shown with care. */
export const SECRET_MARK = 'x-secret-reference'

const mustBe = `must be ${SECRET_REFERENCE_FORM}`

/**
 * Schema of a field that holds a reference to a secret, for settings and targets: `env:NAME`, `file:PATH`,
 * `exec:PROGRAM ARG…` (split at white space) or `{ exec: [PROGRAM, ARG…] }`. The value itself is refused.
 */
export function secretReference() {
  return z
    .union(
      [
        z.string().regex(TEXT, { error: mustBe }),
        z.strictObject(
          { exec: z.tuple([z.string().regex(PROGRAM)], z.string().regex(WORD), { error: mustBe }) },
          { error: mustBe },
        ),
      ],
      { error: mustBe },
    )
    .meta({ [SECRET_MARK]: true })
}

const anyReference = secretReference()

/** Takes a reference apart; undefined where it is not well formed. */
export function parseSecretReference(reference: SecretReference): ParsedReference | undefined {
  if (!anyReference.safeParse(reference).success) return undefined
  if (typeof reference !== 'string') return execReference(reference.exec)
  const rest = reference.slice(reference.indexOf(':') + 1)
  if (reference.startsWith('env:')) return { kind: 'env', name: rest }
  if (reference.startsWith('file:')) return { kind: 'file', path: rest }
  return execReference(rest.trim().split(/\s+/))
}

function execReference([program, ...args]: readonly string[]): ParsedReference | undefined {
  return program === undefined || !PROGRAM.test(program) ? undefined : { kind: 'exec', argv: [program, ...args] }
}

/** How a reference is shown: without the arguments of a program, since people do write secrets there. */
export function describeReference(reference: SecretReference): string {
  const parsed = parseSecretReference(reference)
  if (parsed === undefined) return '(not a reference)'
  if (parsed.kind === 'env') return `env:${parsed.name}`
  return parsed.kind === 'file' ? `file:${parsed.path}` : `exec:${parsed.argv[0]}`
}
