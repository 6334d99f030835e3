import { createHash } from 'node:crypto'
import { z } from 'zod'
import { ERROR_CODES } from '../core/error-table.ts'
import { RUN_STATUSES } from '../core/result.ts'
import type { BatchRecord } from '../store/batch.ts'
import type { RunEnd, Store } from '../store/store.ts'
import { eventsOfBatch, runsOfBatch } from './batch-outcomes.ts'

/** Most groups of an answer, names in one, and characters of their output. */
const MAX_GROUPS = 50
const MAX_NAMES = 1_000
const MAX_TEXT = 2_000

/** Targets of a batch for which the same came out. */
export const groupSchema = z.object({
  count: z.number().int(),
  status: z.enum([...RUN_STATUSES, 'refused']).describe('of the runs; refused: there was none'),
  exit_code: z.number().int().nullable(),
  error_code: z.enum(ERROR_CODES).nullable(),
  output: z
    .string()
    .nullable()
    .describe(
      'what all of them have put out, its beginning where it is long; compared as far as the journal has kept it',
    ),
  targets: z.array(z.string()).describe('the first thousand'),
})

type Group = z.output<typeof groupSchema>

/** Beside what its targets have in common, only their names: a thousand outputs may be long. */
interface Counted {
  readonly facts: Pick<Group, 'status' | 'exit_code' | 'error_code'>
  /** Where the text of all of them is: in a run, or here. */
  readonly text: { readonly run_id: string } | string | null
  count: number
  readonly targets: string[]
}

type GroupParts = Pick<Store, 'listRuns' | 'getRun' | 'getBatchEvents'>

/**
 * What came out, grouped by identical status, exit code, error code and output, as far as the journal has kept that; the
 * largest group first.
 */
export async function groupsOf(store: GroupParts, { id, progress }: BatchRecord): Promise<Group[]> {
  const groups = new Map<string, Counted>()
  for await (const { run_id, target, status, end } of runsOfBatch(store, id)) {
    const facts = { status, exit_code: end?.exit_code ?? null, error_code: end?.error_code ?? null }
    add(groups, { target: target ?? '', facts, output: textOf(end), text: { run_id } })
  }
  if (progress.refused > 0) {
    for await (const { data } of eventsOfBatch(store, id, 'target_refused')) {
      const error_code = ERROR_CODES.find((code) => code === data.error_code) ?? null
      const output = typeof data.error === 'string' ? data.error : null
      const facts = { status: 'refused', exit_code: null, error_code } as const
      add(groups, { target: String(data.target), facts, output, text: output })
    }
  }
  const shown = [...groups.values()].sort((a, b) => b.count - a.count).slice(0, MAX_GROUPS)
  return Promise.all(
    shown.map(async ({ facts, text, count, targets }) => {
      const output = typeof text === 'object' && text !== null ? textOf((await store.getRun(text.run_id))?.end) : text
      return { ...facts, count, output: output?.slice(0, MAX_TEXT) ?? null, targets: targets.sort() }
    }),
  )
}

function textOf(end: RunEnd | null | undefined): string | null {
  return end?.output ?? end?.error ?? null
}

function add(
  groups: Map<string, Counted>,
  { target, facts, output, text }: Pick<Counted, 'facts' | 'text'> & { target: string; output: string | null },
): void {
  const digest = output === null ? null : createHash('sha256').update(output).digest('base64')
  const key = JSON.stringify([facts, digest])
  const group = groups.get(key) ?? { facts, text, count: 0, targets: [] }
  groups.set(key, group)
  group.count += 1
  if (group.targets.length < MAX_NAMES) group.targets.push(target)
}
