/**
 * What became of a command at each device. `unreachable`: the broker has nobody who would get it (MQTT 5). `not_sent`: it
 * is certain that it was not. `timed_out`: it was, or may have been sent, and no answer came.
 */
export const COMMAND_STATES = ['acknowledged', 'rejected', 'timed_out', 'unreachable', 'not_sent'] as const
export type CommandState = (typeof COMMAND_STATES)[number]

export interface CommandRow {
  readonly device_id: string
  readonly state: CommandState
  /** From handing it over until the answer came. */
  readonly seconds: number | null
  readonly message: string | null
}

/** Texts that are kept, whatever devices send. */
const MAX_MESSAGES = 1_000

const OPEN = -1

/** The table of one command: a few bytes for each device. Times are milliseconds of one clock. */
export interface CommandTable {
  readonly open: () => number
  readonly sent: () => number
  indexOf(device_id: string): number | undefined
  /** Whether it may have been sent: before that nobody can have an answer. */
  wasHanded(index: number): boolean
  /** It is handed over to the connection: an answer may come from now on. */
  handed(index: number, at: number): void
  /** The broker has it. */
  delivered(index: number): void
  /** False where there was an end already. */
  end(index: number, state: CommandState, at?: number, message?: string | null): boolean
  counts(): Readonly<Record<CommandState, number>>
  /** All rows; those that are not acknowledged first where `worst` says so. */
  rows(worst: boolean): Iterable<CommandRow>
  /** Seconds until the answers came, rising. */
  times(): Float64Array
}

export function createCommandTable(ids: readonly string[]): CommandTable {
  const index = new Map(ids.map((id, at) => [id, at]))
  const states = new Int8Array(ids.length).fill(OPEN)
  const handedAt = new Float64Array(ids.length).fill(Number.NaN)
  const endedAt = new Float64Array(ids.length).fill(Number.NaN)
  const sent = new Uint8Array(ids.length)
  const messages = new Map<number, string>()
  const counts = COMMAND_STATES.map(() => 0)
  let open = ids.length
  let delivered = 0

  function row(at: number): CommandRow {
    const seconds = ((endedAt[at] ?? Number.NaN) - (handedAt[at] ?? Number.NaN)) / 1000
    return {
      device_id: ids[at] ?? '',
      state: COMMAND_STATES[states[at] ?? 0] ?? 'timed_out',
      seconds: Number.isNaN(seconds) ? null : Math.max(0, seconds),
      message: messages.get(at) ?? null,
    }
  }

  return {
    open: () => open,
    sent: () => delivered,
    indexOf: (id) => index.get(id),
    wasHanded: (at) => !Number.isNaN(handedAt[at]),
    handed(at, time) {
      if (Number.isNaN(handedAt[at])) handedAt[at] = time
    },
    delivered(at) {
      delivered += 1 - (sent[at] ?? 0)
      sent[at] = 1
    },
    end(at, state, time = Number.NaN, message = null) {
      if (states[at] !== OPEN) return false
      const code = COMMAND_STATES.indexOf(state)
      states[at] = code
      endedAt[at] = time
      counts[code] = (counts[code] ?? 0) + 1
      open -= 1
      if (message !== null && messages.size < MAX_MESSAGES) messages.set(at, message)
      return true
    },
    counts: () =>
      Object.fromEntries(COMMAND_STATES.map((state, code) => [state, counts[code] ?? 0])) as Record<
        CommandState,
        number
      >,
    *rows(worst) {
      const acknowledged = COMMAND_STATES.indexOf('acknowledged')
      if (!worst) {
        for (let at = 0; at < ids.length; at++) yield row(at)
        return
      }
      for (let at = 0; at < ids.length; at++) if (states[at] !== acknowledged) yield row(at)
      for (let at = 0; at < ids.length; at++) if (states[at] === acknowledged) yield row(at)
    },
    times() {
      const found: number[] = []
      for (let at = 0; at < ids.length; at++) {
        const { seconds, state } = row(at)
        if (seconds !== null && (state === 'acknowledged' || state === 'rejected')) found.push(seconds)
      }
      return Float64Array.from(found).sort()
    },
  }
}
