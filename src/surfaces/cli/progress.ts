import type { Progress } from '../../core/context.ts'
import { durationText } from '../outcome.ts'
import { plainLine } from '../plain-text.ts'
import type { CliOutput } from './output.ts'

/** How often the line on the terminal is drawn anew, in milliseconds. */
const DRAW_MS = 1_000
/** How often a line is added where there is no terminal: a log must not fill with them. */
const LINE_MS = 10_000

/** The rate is that of the last seconds, not of all the time: a pause is seen, and a slow start is forgotten. */
const WINDOW_MS = 10_000
/** A shorter stretch says nothing of a rate yet. */
const LEAST_MS = 500

interface Point {
  readonly at: number
  readonly progress: number
}

/** What is known of how far something is. Times in milliseconds, of any steady clock. */
export interface Meter {
  report(progress: Progress, at: number): void
  /** `ssh.upload  4.2 s  1.5 MiB of 6.0 MiB (25%)  512 KiB/s  9.0 s left  app.tar`. */
  text(at: number): string
}

export function createMeter(name: string, started: number): Meter {
  let latest: Progress | undefined
  let points: Point[] = []

  function rate(at: number): number | null {
    const [first] = points
    const last = points.at(-1)
    if (first === undefined || last === undefined || at - first.at < LEAST_MS || last.progress <= first.progress) {
      return null
    }
    return ((last.progress - first.progress) * 1000) / (at - first.at)
  }

  return {
    report(progress, at) {
      // Backwards: it began anew.
      if (latest !== undefined && progress.progress < latest.progress) points = []
      latest = progress
      points.push({ at, progress: progress.progress })
      points = points.filter((point, index) => index === points.length - 1 || point.at >= at - WINDOW_MS)
    },
    text(at) {
      const parts = [name, durationText((at - started) / 1000)]
      if (latest !== undefined) parts.push(...factsOf(latest, rate(at)))
      return parts.join('  ')
    },
  }
}

function factsOf({ progress, total, unit, message }: Progress, perSecond: number | null): readonly string[] {
  const amount = (value: number) => (unit === 'bytes' ? bytesText(value) : String(value))
  const facts: string[] = []
  if (total !== undefined) {
    const share = total > 0 ? ` (${Math.floor((Math.min(progress, total) / total) * 100)}%)` : ''
    facts.push(`${amount(progress)} of ${amount(total)}${share}`)
  } else if (unit !== undefined) facts.push(amount(progress))
  if (unit !== undefined && perSecond !== null) facts.push(`${bytesText(perSecond)}/s`)
  if (total !== undefined && perSecond !== null && progress < total) {
    facts.push(`${durationText((total - progress) / perSecond)} left`)
  }
  if (message !== undefined) facts.push(plainLine(message))
  return facts
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const

/** `512 B`, `1.5 MiB`, `20 GiB`: two digits at least, in units of 1024. */
export function bytesText(bytes: number): string {
  let value = bytes
  let unit = 0
  // 999.5 would be shown with four digits.
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit > 0 && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`
}

/**
 * Tells of something that goes on: one line that is drawn anew on a terminal, else now and then a line.
 *
 * @param mayDraw whether the terminal is at the beginning of a line; what stands on it otherwise would be overwritten
 */
export function startProgress(
  out: Pick<CliOutput, 'onTerminal' | 'progress' | 'note'>,
  name: string,
  mayDraw: () => boolean = () => true,
) {
  const meter = createMeter(name, performance.now())
  let news = false
  const draw = () => {
    if (out.onTerminal) {
      if (mayDraw()) out.progress(meter.text(performance.now()))
      return
    }
    // A log learns only what is new: that something still goes on is no news.
    if (news) out.note(meter.text(performance.now()))
    news = false
  }
  const timer = setInterval(draw, out.onTerminal ? DRAW_MS : LINE_MS)
  timer.unref()
  return {
    report(progress: Progress) {
      meter.report(progress, performance.now())
      news = true
    },
    stop: () => clearInterval(timer),
  }
}
