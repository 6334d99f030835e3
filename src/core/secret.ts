import { inspect } from 'node:util'

/** Shorter values cannot be masked without masking half of the language; resolving one is refused. */
export const MIN_SECRET_LENGTH = 4

/** A secret's value, wrapped so that it cannot be printed, logged or serialised by accident. */
export interface Secret {
  /** The reference it came from (`env:NAME`, `file:PATH`, `exec:PROGRAM`); safe to print. */
  readonly reference: string
  /** The value itself. Call it as late as possible and keep the result in no object. */
  reveal(): string
  toString(): string
  toJSON(): string
}

export function createSecret(reference: string, value: string): Secret {
  const masked = `[secret ${reference}]`
  return Object.freeze({
    reference,
    reveal: () => value,
    toString: () => masked,
    toJSON: () => masked,
    [inspect.custom]: () => masked,
  })
}
