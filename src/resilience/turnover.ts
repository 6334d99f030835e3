/** Time over which the rate is looked at, in milliseconds: what was longer ago fades. */
const MEMORY_MS = 30_000

/** How often something happens, from when it did: an exponentially weighted rate without a list of times. */
export class Turnover {
  #weight = 0
  #since = 0
  #last = 0

  /** `now` in milliseconds of a clock that does not go back. */
  note(now: number): void {
    if (this.#weight === 0) this.#since = now
    this.#weight = this.#faded(now) + 1
    this.#last = now
  }

  /** Per second; null while nothing has happened. */
  rate(now: number): number | null {
    if (this.#weight === 0) return null
    // Before the memory is full the weights add up to less: that is taken out again. One second is the least to tell by.
    const seen = 1 - Math.exp(-Math.max(1_000, now - this.#since) / MEMORY_MS)
    return (this.#faded(now) * 1_000) / (MEMORY_MS * seen)
  }

  #faded(now: number): number {
    return this.#weight * Math.exp((this.#last - now) / MEMORY_MS)
  }
}
