/** A metric that a worker declares. Its name is shown with `mahavishnu_` in front. */
export interface MetricSpec {
  readonly name: string
  readonly kind: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  /** Every label with all the values that it may have: what is not among them is shown as `other`. */
  readonly labels?: Readonly<Record<string, readonly string[]>>
  /** Upper bounds of a histogram, rising. */
  readonly buckets?: readonly number[]
}

/** What is measured at the moment it is asked for. Counters and histograms only grow while the worker lives. */
export type MetricSample = {
  readonly name: string
  readonly labels?: Readonly<Record<string, string>>
} & (
  | { readonly value: number }
  /** How many observations lie in each bucket (not added up), and all of them. */
  | { readonly buckets: readonly number[]; readonly sum: number; readonly count: number }
)
