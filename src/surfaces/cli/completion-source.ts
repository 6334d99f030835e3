import type { Argument, Option } from 'commander'

/** Where the values of an argument or option come from, for completion. */
export type ValueSource =
  | { readonly kind: 'words'; readonly words: readonly string[] }
  /** Targets of the inventory that this worker can act on; all of them without a worker. */
  | { readonly kind: 'targets'; readonly worker?: string }
  | {
      readonly kind:
        | 'runs'
        | 'letters'
        | 'batches'
        | 'schedules'
        | 'workers'
        | 'operations'
        | 'settings'
        | 'assignments'
        | 'folders'
    }

const sources = new WeakMap<Argument | Option, ValueSource>()

/** Says where the values come from; choices that the parser knows need not be said. */
export function completes<T extends Argument | Option>(part: T, source: ValueSource): T {
  sources.set(part, source)
  return part
}

export function sourceOf(part: Argument | Option): ValueSource | null {
  return sources.get(part) ?? (part.argChoices === undefined ? null : { kind: 'words', words: part.argChoices })
}

/** What the fields of control calls name. */
const NAMED_BY: Readonly<Record<string, ValueSource>> = {
  run_id: { kind: 'runs' },
  recording: { kind: 'runs' },
  letter_id: { kind: 'letters' },
  letters: { kind: 'letters' },
  batch_id: { kind: 'batches' },
  name: { kind: 'schedules' },
  worker: { kind: 'workers' },
  operation: { kind: 'operations' },
  on: { kind: 'targets' },
  ping: { kind: 'targets' },
}

export function sourceOfField(name: string): ValueSource | undefined {
  return NAMED_BY[name]
}
