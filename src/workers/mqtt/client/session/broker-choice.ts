/** Which broker of the list is next, and how long to wait before it. No time and no network in here. */
export interface BrokerChoice {
  /** Index of the broker to use now. */
  current(): number
  /** A link has lasted; `long` where it did for so long that the next wait may be the shortest again. */
  succeeded(index: number, long: boolean): void
  /** A try failed, or a link did not last. `refused`: for a reason that time does not heal, so the next one is due. */
  failed(refused: boolean): Failed
  /** Milliseconds to wait before the next try: full jitter over all failures in a row. */
  wait(random?: () => number): number
}

export interface Failed {
  /** Another broker is due. */
  readonly switched: boolean
  /** Every broker of the list has now had its tries in vain. */
  readonly exhausted: boolean
  /** And every one of them refused. */
  readonly all_refused: boolean
}

export interface BrokerChoiceOptions {
  readonly brokers: number
  /** Failures in a row after which the next one is due. */
  readonly threshold: number
  readonly base_ms: number
  readonly cap_ms: number
}

export function createBrokerChoice({ brokers, threshold, base_ms, cap_ms }: BrokerChoiceOptions): BrokerChoice {
  let index = 0
  /** Failures in a row: of this broker, and of all. */
  let here = 0
  let failures = 0
  /** Brokers given up since the last success, and how many of them had refused. */
  let given = 0
  let refusals = 0

  return {
    current: () => index,
    succeeded(which, long) {
      index = which
      here = 0
      failures = long ? 0 : failures + 1
      given = 0
      refusals = 0
    },
    failed(refused) {
      here += 1
      failures += 1
      if (!refused && here < threshold) return { switched: false, exhausted: brokers === 1, all_refused: false }
      here = 0
      given += 1
      if (refused) refusals += 1
      index = (index + 1) % brokers
      const exhausted = given >= brokers
      const all_refused = exhausted && refusals >= brokers
      if (exhausted) {
        given = 0
        refusals = 0
      }
      return { switched: brokers > 1, exhausted: exhausted || brokers === 1, all_refused }
    },
    // M. Brooker, "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.
    wait: (random = Math.random) => Math.floor(random() * Math.min(cap_ms, base_ms * 2 ** Math.min(failures, 30))),
  }
}
