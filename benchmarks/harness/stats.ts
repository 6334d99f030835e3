/** What is said of the values that the rounds of one side gave. */
export interface Spread {
  readonly min: number
  readonly q1: number
  readonly median: number
  readonly q3: number
  readonly max: number
  /** Median of the distances from the median: half of the rounds lie within it. */
  readonly mad: number
}

/**
 * The quantile of values in any order, linear between the two nearest ones (type 7 of Hyndman and Fan, what R and
 * NumPy do by default). NaN for no values.
 *
 * @param at 0 for the least, 0.5 for the median, 1 for the greatest
 */
export function quantile(values: readonly number[] | Float64Array, at: number): number {
  const sorted = Float64Array.from(values).sort()
  if (sorted.length === 0) return Number.NaN
  const place = at * (sorted.length - 1)
  const below = sorted[Math.floor(place)] as number
  const above = sorted[Math.ceil(place)] as number
  return below + (above - below) * (place - Math.floor(place))
}

export function median(values: readonly number[] | Float64Array): number {
  return quantile(values, 0.5)
}

export function spreadOf(values: readonly number[]): Spread {
  const middle = median(values)
  return {
    min: quantile(values, 0),
    q1: quantile(values, 0.25),
    median: middle,
    q3: quantile(values, 0.75),
    max: quantile(values, 1),
    mad: median(values.map((value) => Math.abs(value - middle))),
  }
}

/** A number as it is printed and written: four significant digits, which is more than any of these is good for. */
export function rounded(value: number): number {
  return Number(value.toPrecision(4))
}
