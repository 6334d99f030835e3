import type { Interleaving } from './interleave.ts'
import type { Row } from './row.ts'

export interface BenchOptions {
  readonly rounds: number
  /** Fewer and shorter rounds: tells whether everything works, judges nothing. */
  readonly quick: boolean
  /** Folder for CPU profiles of our side; also makes it slower. */
  readonly profile?: string | undefined
  /** Tells people how far it is. */
  say(text: string): void
}

/** What is measured together. */
export interface Area {
  readonly name: string
  /** One line for `--help`. */
  readonly summary: string
  /** What is missing on this machine, and how to get it; undefined when it can run. */
  missing(): string | undefined
  run(options: BenchOptions): Promise<readonly Row[]>
}

/** The interleaving of a row, telling people its rounds. One whole round is for warming up. */
export function interleavingOf(options: BenchOptions, what: string, turns: number): Interleaving {
  const { rounds, quick, say } = options
  return {
    rounds,
    turns: quick ? 1 : turns,
    warmUp: quick && rounds === 1 ? 0 : 1,
    onRound: (round) => say(round < 0 ? `  ${what}: warming up` : `  ${what}: round ${round + 1} of ${rounds}`),
  }
}
