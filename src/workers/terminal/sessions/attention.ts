import type { Clock } from '../../../core/clock.ts'
import { createQuietFirst } from '../host/quiet-first.ts'

/** A session tells what happens in it, and hears how long it has to wait for others. */
export interface SessionAttention {
  typed(): void
  /** It has given output. @returns milliseconds for which no more is to be taken from it */
  gave(bytes: number): number
}

/**
 * Which sessions are waited for, of this machine and of hosts. What floods gives way: local sessions in the PTY host,
 * which is where they are read, and which has to be told of the others; those of hosts here.
 */
export interface Attention {
  local(id: string): SessionAttention
  remote(id: string): SessionAttention
  forget(id: string): void
}

/** The PTY host knows for a while what it was told. */
const TELL_AGAIN_MS = 40

/** @param tellHost tells the PTY host that a session of another host was typed into, or was quiet */
export function createAttention(clock: Clock, tellHost: (typed: boolean) => void): Attention {
  const first = createQuietFirst(clock)
  const told = { typed: Number.NEGATIVE_INFINITY, quiet: Number.NEGATIVE_INFINITY }

  function tell(what: 'typed' | 'quiet'): void {
    const now = clock.monotonic()
    if (now - told[what] < TELL_AGAIN_MS) return
    told[what] = now
    tellHost(what === 'typed')
  }

  return {
    local: (id) => ({
      typed: () => first.typed(id),
      gave(bytes) {
        first.gave(id, bytes)
        return 0
      },
    }),
    remote: (id) => ({
      typed() {
        first.typed(id)
        tell('typed')
      },
      gave(bytes) {
        if (first.gave(id, bytes)) tell('quiet')
        return first.rest(id, bytes)
      },
    }),
    forget: (id) => first.forget(id),
  }
}
