/** Measures a side once: a number in whatever unit the row needs, or several of them. */
export type Measure<T = number> = () => Promise<T>

export interface Interleaving {
  readonly rounds: number
  /**
   * How often each side has its turn within a round. What slows the machine down for less than a round then falls on
   * all sides alike.
   */
  readonly turns: number
  /** Rounds before the first that counts; their values are thrown away. */
  readonly warmUp: number
  /** Told of each round before it begins; negative while warming up. */
  readonly onRound?: (round: number) => void
}

/** The sides in the order in which this turn takes them: forwards, then backwards, so that none is always first. */
export function orderOf<K>(sides: readonly K[], turn: number): readonly K[] {
  return turn % 2 === 0 ? sides : [...sides].reverse()
}

/**
 * Measures the sides in turn: ours, peer, peer, ours, … Answers, for each side, with one list per round: the values of
 * its turns in that round. The values of one round can be compared over the sides.
 */
export async function interleave<K extends string, T>(
  sides: Readonly<Record<K, Measure<T>>>,
  { rounds, turns, warmUp, onRound }: Interleaving,
): Promise<Record<K, T[][]>> {
  const names = Object.keys(sides) as K[]
  const values = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<K, T[][]>
  let turn = 0
  for (let round = -warmUp; round < rounds; round++) {
    onRound?.(round)
    const taken = Object.fromEntries(names.map((name) => [name, [] as T[]])) as Record<K, T[]>
    for (let each = 0; each < turns; each++) {
      for (const name of orderOf(names, turn)) taken[name].push(await sides[name]())
      turn += 1
    }
    if (round < 0) continue
    for (const name of names) values[name].push(taken[name])
  }
  return values
}

/** One value per round: what so many things per turn come to in a second, all turns of the round together. */
export function ratePerSecond(rounds: readonly (readonly number[])[], perTurn: number): number[] {
  return rounds.map((seconds) => (perTurn * seconds.length) / seconds.reduce((sum, each) => sum + each, 0))
}
