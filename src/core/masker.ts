/** Places within bytes, from (inclusive) to (exclusive). */
export interface MaskedSpan {
  readonly from: number
  readonly to: number
}

/** Where secrets stand in bytes. */
export interface FoundSecrets {
  /** In order; those that overlap are one. */
  readonly spans: readonly MaskedSpan[]
  /** Where the longest end begins that may be the beginning of a secret; the number of bytes where none does. */
  readonly open: number
}

/**
 * Masks by value what secrets were resolved: for what a worker writes by itself, beside results, output and logs, which
 * the path masks. In a process of its own a worker knows the secrets that it has resolved itself.
 */
export interface Masker {
  text(text: string): string
  find(bytes: Uint8Array): FoundSecrets
}

/** What stands in the place of a secret. */
export const MASK = '[redacted]'
