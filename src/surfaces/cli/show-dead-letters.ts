import type { WorkerResult } from '../../core/result.ts'
import { CERTAINTY_TEXT } from '../outcome.ts'
import { plainLine, plainText } from '../plain-text.ts'
import { runText } from './show.ts'
import { type Column, tableText } from './table.ts'

/** Text for people of what the calls about dead letters answer. */

interface ShownLetter {
  readonly letter_id: string
  readonly run_id: string
  readonly operation: string
  readonly target: string | null
  readonly principal: string
  readonly error_code: string | null
  readonly error: string | null
  readonly effect_certainty: 'none' | 'applied' | 'unknown'
  readonly state: string
  readonly replays: number
  readonly max_replays: number
  readonly policy: string
  readonly next_at: string | null
  readonly last_run_id: string | null
  readonly created_at: string
}

const COLUMNS: readonly Column<ShownLetter>[] = [
  { title: 'LETTER', text: ({ letter_id }) => letter_id },
  { title: 'STATE', text: ({ state }) => state },
  { title: 'REPLAYS', text: ({ replays, max_replays }) => `${replays}/${max_replays}` },
  { title: 'EFFECT', text: ({ effect_certainty }) => effect_certainty },
  { title: 'OPERATION', text: ({ operation }) => operation, mayCut: true },
  { title: 'TARGET', text: ({ target }) => target ?? '-', mayCut: true },
  { title: 'ERROR', text: ({ error_code }) => error_code ?? '-', mayCut: true },
]

export function deadLettersText(answer: Record<string, unknown>, width: number | null): string {
  const { letters, next } = answer as { letters: readonly ShownLetter[]; next: string | null }
  if (letters.length === 0) return 'no dead letters'
  const table = tableText(COLUMNS, letters, width)
  return next === null ? table : `${table}\nmore: --before ${next}`
}

/** One fact a line. */
export function deadLetterText(letter: ShownLetter): string {
  const facts: readonly (readonly [string, string | null])[] = [
    ['letter', letter.letter_id],
    ['state', letter.state],
    ['run', letter.run_id],
    ['operation', letter.target === null ? letter.operation : `${letter.operation} on ${letter.target}`],
    ['asked by', letter.principal],
    ['failed', letter.created_at],
    ['error', letter.error === null ? letter.error_code : `${letter.error_code}: ${letter.error}`],
    ['effect', CERTAINTY_TEXT[letter.effect_certainty]],
    [
      'replays',
      `${letter.replays} of ${letter.max_replays}, by itself: ${letter.next_at ?? 'no'} (policy ${letter.policy})`,
    ],
    ['last replay', letter.last_run_id],
  ]
  return facts
    .flatMap(([name, value]) => (value === null ? [] : [`${`${name}:`.padEnd(13)}${plainLine(value)}`]))
    .join('\n')
}

export function shownDeadLetterText(answer: Record<string, unknown>): string {
  const { letter, input } = answer as { letter: ShownLetter; input: unknown }
  return `${deadLetterText(letter)}\ninput:       ${plainText(JSON.stringify(input))}`
}

export function replayText(answer: Record<string, unknown>): string {
  const { letter, run } = answer as { letter: ShownLetter; run: WorkerResult }
  return `dead letter ${letter.letter_id} is ${letter.state}\n${runText(run)}`
}

export function deadLetterStatsText(answer: Record<string, unknown>): string {
  const { by_state, by_worker, bytes, oldest_at, dropped, rejected } = answer as {
    by_state: Record<string, number>
    by_worker: Record<string, number>
    bytes: number
    oldest_at: string | null
    dropped: number
    rejected: number
  }
  const counts = (numbers: Record<string, number>) =>
    Object.entries(numbers)
      .map(([name, count]) => `${count} ${name}`)
      .join(', ') || 'none'
  return [
    counts(by_state),
    `to be dealt with, by worker: ${counts(by_worker)}`,
    `oldest open one: ${oldest_at ?? 'none'}`,
    `${bytes} bytes; lost for want of room: ${dropped} dropped, ${rejected} not kept`,
  ].join('\n')
}
