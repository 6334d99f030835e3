import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { PtySession } from '../../src/workers/terminal/sessions/pty-session.ts'

/** Prints the monotonic clock in nanoseconds, a line every 50 ms. */
export const PRINTER = "setInterval(() => process.stdout.write(process.hrtime.bigint() + '\\n'), 50)"

/** Lets a machine settle after something was let go or held. */
const SETTLE_MS = 50

export type Measure = () => Promise<readonly number[]>

/** Something that goes on or waits. */
export interface Beside {
  go(): void | Promise<void>
  hold(): void | Promise<void>
}

export interface Compared {
  readonly alone: number
  readonly beside: number
  readonly said: string
}

/**
 * The middle times alone and beside something, in turns: what else the machine does meets both, though not equally. So
 * a series in which the time was more than doubled is measured twice more, and the middle one of the three counts.
 */
export async function compare(measure: Measure, beside: Beside, rounds: number): Promise<Compared> {
  await measure()
  const first = await compareOnce(measure, beside, rounds)
  if (ratioOf(first) <= 2) return first
  const all = [first, await compareOnce(measure, beside, rounds), await compareOnce(measure, beside, rounds)]
  return all.sort((one, other) => ratioOf(one) - ratioOf(other))[1] as Compared
}

const ratioOf = ({ alone, beside }: Compared) => beside / alone

async function compareOnce(measure: Measure, beside: Beside, rounds: number): Promise<Compared> {
  const times = { alone: [] as number[], beside: [] as number[] }
  for (let round = 0; round < rounds; round += 1) {
    await beside.hold()
    await delay(SETTLE_MS)
    times.alone.push(...(await measure()))
    await beside.go()
    await delay(SETTLE_MS)
    times.beside.push(...(await measure()))
  }
  return compared(times)
}

export function compared(times: { readonly alone: readonly number[]; readonly beside: readonly number[] }): Compared {
  const middle = { alone: median(times.alone), beside: median(times.beside) }
  return { ...middle, said: `${middle.beside.toFixed(2)} ms beside, ${middle.alone.toFixed(2)} ms alone` }
}

function median(times: readonly number[]): number {
  return [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)] as number
}

/** Milliseconds from keystrokes to their echoes. */
export function echoes(session: PtySession, strokes: number): Measure {
  return async () => {
    const times: number[] = []
    let got = Promise.withResolvers<void>()
    const remove = session.onData(() => got.resolve())
    for (let stroke = 0; stroke < strokes; stroke += 1) {
      got = Promise.withResolvers<void>()
      const from = performance.now()
      await session.write(Buffer.from('k'))
      await got.promise
      times.push(performance.now() - from)
      await delay(2)
    }
    remove()
    return times
  }
}

/** Milliseconds from the clock that a program prints until the line is here. */
export function lines(session: PtySession, count: number): Measure {
  return async () => {
    const times: number[] = []
    const enough = Promise.withResolvers<void>()
    const remove = session.onData(({ bytes }) => {
      const now = process.hrtime.bigint()
      for (const line of Buffer.from(bytes).toString('latin1').split('\r\n')) {
        if (/^\d+$/.test(line)) times.push(Number(now - BigInt(line)) / 1e6)
      }
      if (times.length >= count) enough.resolve()
    })
    await enough.promise
    remove()
    return times
  }
}

/** What is behind it takes nothing while it is held: then its program waits, and keeps nobody busy. */
export function gate() {
  let open = Promise.withResolvers<void>()
  let isHeld = true
  return {
    hold() {
      if (!isHeld) open = Promise.withResolvers<void>()
      isHeld = true
    },
    go() {
      isHeld = false
      open.resolve()
    },
    opened: () => open.promise,
  }
}

/** The PTY host of a local session: the parent of its program. */
export function hostOf(session: PtySession): number {
  const stat = readFileSync(`/proc/${session.info.pid}/stat`, 'latin1')
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
}

/** Resident memory of a process in bytes. */
export function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024
}
