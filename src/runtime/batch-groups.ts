import { createHash } from 'node:crypto'
import { z } from 'zod'
import { ERROR_CODES } from '../core/error-table.ts'
import { RUN_STATUSES } from '../core/result.ts'
import type { BatchRecord } from '../store/batch.ts'
import type { RunRecord, Store } from '../store/store.ts'
import { refusedOfBatch, runsOfBatch } from './batch-outcomes.ts'

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
  output: z.string().nullable().describe('what all of them have put out, its beginning where it is long'),
  targets: z.array(z.string()).describe('the first thousand'),
})

type Group = z.output<typeof groupSchema>

/** What came out, grouped by identical status, exit code, error code and output; the largest group first. */
export async function groupsOf(
  store: Pick<Store, 'listRuns' | 'getBatchEvents'>,
  { id, progress }: BatchRecord,
): Promise<Group[]> {
  const groups = new Map<string, Group>()
  for await (const run of runsOfBatch(store, id)) add(groups, run.target ?? '', outcome(run))
  if (progress.refused > 0) {
    for await (const { data } of refusedOfBatch(store, id)) {
      const error_code = ERROR_CODES.find((code) => code === data.error_code) ?? null
      const output = typeof data.error === 'string' ? data.error : null
      add(groups, String(data.target), { status: 'refused', exit_code: null, error_code, output })
    }
  }
  return [...groups.values()]
    .sort((a, b) => b.count - a.count)
    .slice(0, MAX_GROUPS)
    .map((group) => ({ ...group, targets: group.targets.sort() }))
}

function outcome({ status, end }: RunRecord): Omit<Group, 'count' | 'targets'> {
  const text = end?.output ?? end?.error ?? null
  return { status, exit_code: end?.exit_code ?? null, error_code: end?.error_code ?? null, output: text }
}

function add(groups: Map<string, Group>, target: string, { output, ...facts }: Omit<Group, 'count' | 'targets'>): void {
  // Only the digest of an output is kept beside its beginning: a thousand of them may be long.
  const digest = createHash('sha256')
    .update(output ?? '')
    .digest('hex')
  const key = JSON.stringify([facts, digest, output === null])
  const group = groups.get(key) ?? { ...facts, count: 0, output: output?.slice(0, MAX_TEXT) ?? null, targets: [] }
  groups.set(key, group)
  group.count += 1
  if (group.targets.length < MAX_NAMES) group.targets.push(target)
}
