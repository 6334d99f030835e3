import { type Column, tableText } from './table.ts'

interface ShownBreaker {
  readonly worker: string
  readonly target: string
  readonly state: string
  readonly forced: string | null
  readonly failures: number
  readonly calls: number
  readonly open_until: string | null
}

/** One line a breaker. `now` in milliseconds since the epoch. */
export function breakersText(answer: Record<string, unknown>, width: number | null, now: number): string {
  const { breakers } = answer as { breakers: readonly ShownBreaker[] }
  const columns: readonly Column<ShownBreaker>[] = [
    { title: 'WORKER', text: ({ worker }) => worker },
    { title: 'TARGET', text: ({ target }) => target },
    { title: 'STATE', text: ({ state, forced }) => (forced === null ? state : `${state} (forced)`) },
    { title: 'FAILURES', text: ({ failures }) => String(failures) },
    { title: 'TRIED AGAIN', text: ({ open_until }) => (open_until === null ? '-' : inText(open_until, now)) },
  ]
  return breakers.length === 0 ? 'no circuit breaker holds anything back' : tableText(columns, breakers, width)
}

function inText(time: string, now: number): string {
  return `in ${Math.max(0, Math.ceil((Date.parse(time) - now) / 1000))} s`
}
