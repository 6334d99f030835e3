/** Measures one side once: a number in the unit of its row, or several by name. */
export type Measure<T> = (round: number) => Promise<T>

export interface Interleaving {
  readonly rounds: number
  /** Rounds before the first that counts; their values are thrown away. */
  readonly warmUp: number
  /** Told of each round before it begins; negative while warming up. */
  readonly onRound?: (round: number) => void
}

/** The sides in the order in which this round takes them: forwards, then backwards, so that none is always first. */
export function orderOf<K>(sides: readonly K[], round: number): readonly K[] {
  return round % 2 === 0 ? sides : [...sides].reverse()
}

/**
 * Measures the sides in turn, round by round. What slows the machine down for a while then slows all of them down, and
 * the values of one round can be compared with each other.
 */
export async function interleave<K extends string, T>(
  sides: Readonly<Record<K, Measure<T>>>,
  { rounds, warmUp, onRound }: Interleaving,
): Promise<Record<K, T[]>> {
  const names = Object.keys(sides) as K[]
  const values = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<K, T[]>
  for (let round = -warmUp; round < rounds; round++) {
    onRound?.(round)
    for (const name of orderOf(names, Math.abs(round))) {
      const value = await sides[name](round)
      if (round >= 0) values[name].push(value)
    }
  }
  return values
}
