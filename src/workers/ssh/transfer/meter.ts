import type { Clock } from '../../../core/clock.ts'
import type { Progress } from '../../../core/context.ts'

/** How far a transfer is. */
export interface Meter {
  /** Bytes that were acknowledged, or read and verified. */
  bytes(count: number): void
  file(): void
  readonly total: { bytes: number; files: number }
  /** Tells the end, whatever was told before. */
  finish(): void
  seconds(): number
}

/** Milliseconds between two messages: people see no more, and a surface has to carry each. */
const EVERY_MS = 250
/** Milliseconds over which the rate is taken. */
const RATE_MS = 3_000

export function createMeter(clock: Clock, tell: (progress: Progress) => Promise<void>): Meter {
  const began = clock.monotonic()
  const total = { bytes: 0, files: 0 }
  let [bytes, files, toldAt] = [0, 0, Number.NEGATIVE_INFINITY]
  /** Moments and what had come by then, of the last seconds. */
  const marks: { at: number; bytes: number }[] = [{ at: began, bytes: 0 }]

  function message(now: number): string {
    const first = marks[0] ?? { at: began, bytes: 0 }
    const rate = now > first.at ? ((bytes - first.bytes) * 1000) / (now - first.at) : 0
    const left = rate > 0 && total.bytes > bytes ? `, ${Math.ceil((total.bytes - bytes) / rate)} s left` : ''
    return `${files} of ${total.files} files, ${size(rate)}/s${left}`
  }

  function say(now: number): void {
    toldAt = now
    marks.push({ at: now, bytes })
    while (marks.length > 2 && now - (marks[0]?.at ?? now) > RATE_MS) marks.shift()
    // A surface that cannot take it must not hold up the transfer.
    tell({ progress: bytes, total: total.bytes, unit: 'bytes', message: message(now) }).catch(() => undefined)
  }

  function maybe(): void {
    const now = clock.monotonic()
    if (now - toldAt >= EVERY_MS) say(now)
  }

  return {
    total,
    bytes(count) {
      bytes += count
      maybe()
    },
    file() {
      files += 1
      maybe()
    },
    finish: () => say(clock.monotonic()),
    seconds: () => (clock.monotonic() - began) / 1000,
  }
}

/** Bytes as people read them, in powers of 1000. */
export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = bytes
  let unit = 0
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000
    unit += 1
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}
