/** Random numbers that a seed gives again: mulberry32, good enough to spread faults and load. */
export interface Random {
  /** 0 or more, less than 1. */
  unit(): number
  /** A whole number from `least` to `most`, both included. */
  whole(least: number, most: number): number
  chance(probability: number): boolean
  pick<T>(values: readonly T[]): T
  /** The same values in another order. */
  shuffled<T>(values: readonly T[]): readonly T[]
}

export function createRandom(seed: number): Random {
  let state = seed >>> 0
  function unit(): number {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const whole = (least: number, most: number) => least + Math.floor(unit() * (most - least + 1))
  return {
    unit,
    whole,
    chance: (probability) => unit() < probability,
    pick: <T>(values: readonly T[]) => values[whole(0, values.length - 1)] as T,
    shuffled: (values) =>
      values
        .map((value) => ({ value, rank: unit() }))
        .sort((a, b) => a.rank - b.rank)
        .map(({ value }) => value),
  }
}
