import { plainLine } from '../plain-text.ts'
import { indented } from './show.ts'
import { type Column, tableText } from './table.ts'

/** Text for people of what the calls about workers answer. */

interface ListedWorker {
  readonly name: string
  readonly title: string
  readonly description: string
  readonly operations: readonly { readonly id: string; readonly summary: string; readonly effect: string }[]
  readonly targets: readonly string[]
}

export function workersText(answer: Record<string, unknown>, width: number | null): string {
  const { workers } = answer as { workers: readonly ListedWorker[] }
  return workers
    .map(({ name, title, operations, targets }) => {
      const columns: readonly Column<ListedWorker['operations'][number]>[] = [
        { title: 'OPERATION', text: ({ id }) => id },
        { title: 'EFFECT', text: ({ effect }) => effect },
        { title: 'WHAT IT DOES', text: ({ summary }) => summary, mayCut: true },
      ]
      const table = tableText(columns, operations, inner(width))
      return [`${name}: ${title}`, indented(table), `  targets: ${targets.join(', ') || 'none'}`].join('\n')
    })
    .join('\n\n')
}

interface WorkerHealth {
  readonly name: string
  readonly started: boolean
  readonly failed_start: { readonly attempts: number; readonly error_code: string; readonly message: string } | null
  readonly running: number
  readonly queued: number
  readonly runs: number
  readonly refused: number
  readonly breakers: readonly {
    readonly target: string
    readonly state: string
    readonly forced: string | null
  }[]
  readonly connection: Readonly<Record<string, unknown>>
}

interface LevelHealth {
  readonly levels: number
  readonly saturated: number
  readonly running: number
  readonly queued: number
  readonly rejected: number
  readonly shed: number
  readonly expired: number
}

interface Health {
  readonly workers: readonly WorkerHealth[]
  readonly admission: Readonly<Record<string, LevelHealth>>
  readonly ping: {
    readonly target: string
    readonly worker: string
    readonly healthy: boolean
    readonly message: string
  } | null
}

export function healthText(answer: Record<string, unknown>, width: number | null): string {
  const { workers, admission, ping } = answer as unknown as Health
  const lines = [...workers.flatMap(workerLines), 'admission', indented(admissionText(admission, inner(width)))]
  if (ping === null) return lines.join('\n')
  const { target, worker, healthy, message } = ping
  return [...lines, `${target} (${worker}): ${healthy ? 'healthy' : 'not healthy'}: ${plainLine(message)}`].join('\n')
}

function workerLines(worker: WorkerHealth): readonly string[] {
  const { name, started, failed_start: failed, running, queued, runs, refused, breakers, connection } = worker
  return [
    `${name}: ${running} running, ${queued} queued, ${runs} finished, ${refused} refused${started ? '' : ', not started yet'}`,
    ...(failed === null
      ? []
      : [`  does not start (${failed.attempts} tries): ${failed.error_code}: ${plainLine(failed.message)}`]),
    ...breakers.map(
      ({ target, state, forced }) =>
        `  breaker of ${target}: ${state}${forced === null ? '' : ', held by an operator'}`,
    ),
    ...Object.entries(connection).map(([key, value]) => `  ${key}: ${value}`),
  ]
}

/** One line for each level of limits; the numbers of runs are those of its fullest limit. */
function admissionText(admission: Health['admission'], width: number | null): string {
  type Row = readonly [level: string, health: LevelHealth]
  const columns: readonly Column<Row>[] = [
    { title: 'LEVEL', text: ([level]) => level },
    { title: 'RUNNING', text: ([, { running }]) => String(running) },
    { title: 'QUEUED', text: ([, { queued }]) => String(queued) },
    { title: 'FULL', text: ([, { saturated, levels }]) => `${saturated}/${levels}` },
    { title: 'REFUSED', text: ([, { rejected }]) => String(rejected) },
    { title: 'SHED', text: ([, { shed }]) => String(shed) },
    { title: 'EXPIRED', text: ([, { expired }]) => String(expired) },
  ]
  return tableText(columns, Object.entries(admission), width)
}

/** The width that is left beside an indentation. */
const inner = (width: number | null) => (width === null ? null : width - 2)
