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
    { title: 'STATE', text: ({ state }) => state },
    { title: 'HELD', text: ({ forced }) => (forced === null ? 'no' : 'by an operator') },
    { title: 'FAILURES', text: ({ failures, calls }) => failuresText(failures, calls) },
    { title: 'TRIED AGAIN', text: ({ open_until }) => (open_until === null ? '-' : inText(open_until, now)) },
  ]
  return breakers.length === 0 ? 'no circuit breaker holds anything back' : tableText(columns, breakers, width)
}

/** What forcing one did. */
export function forcedBreakerText(answer: Record<string, unknown>, width: number | null, now: number): string {
  const { breaker, changed } = answer as { breaker: ShownBreaker; changed: boolean }
  const table = breakersText({ breakers: [breaker] }, width, now)
  return changed ? table : `${table}\nit was like this before`
}

/** Of a breaker that is open, the calls since are none: what is known is what opened it. */
function failuresText(failures: number, calls: number): string {
  return calls === 0 ? String(failures) : `${failures} of ${calls} calls`
}

function inText(time: string, now: number): string {
  return `in ${Math.max(0, Math.ceil((Date.parse(time) - now) / 1000))} s`
}
