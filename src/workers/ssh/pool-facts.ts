import type { WorkerContext } from '../../core/context.ts'
import { toMhvError } from '../../core/errors.ts'

/** What is counted of everything that the pool has of one target. */
interface GroupFacts {
  readonly entries: readonly { readonly channels: number }[]
  readonly connecting: number
  readonly waiters: readonly unknown[]
}

/** The pool in numbers. `busy` and `idle` are connections with and without a channel. */
export function poolNumbers(groups: readonly GroupFacts[]) {
  const entries = groups.flatMap((group) => group.entries)
  const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0)
  const busy = entries.filter(({ channels }) => channels > 0).length
  return {
    targets: groups.length,
    connections: entries.length,
    busy,
    idle: entries.length - busy,
    connecting: sum(groups.map(({ connecting }) => connecting)),
    channels: sum(entries.map(({ channels }) => channels)),
    waiting: sum(groups.map(({ waiters }) => waiters.length)),
  }
}

/** Makes a connection, and tells how long that took, or why it failed. */
export async function timed<T>(
  { clock, onConnect }: Pick<WorkerContext, 'clock' | 'onConnect'>,
  connecting: () => Promise<T>,
): Promise<T> {
  const began = clock.monotonic()
  const seconds = () => (clock.monotonic() - began) / 1000
  try {
    const made = await connecting()
    onConnect?.({ seconds: seconds(), error_code: null })
    return made
  } catch (error) {
    onConnect?.({ seconds: seconds(), error_code: toMhvError(error).code })
    throw error
  }
}
