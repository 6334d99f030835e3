import type { Clock } from '../../../core/clock.ts'

/** How often it is looked whose time is over, in milliseconds. */
const LOOK_MS = 100

export interface WatchLimits {
  /** Seconds until the first report of a device that was told. */
  readonly first_report: number
  /** Seconds until its end. */
  readonly whole: number
}

interface Watched {
  /** Milliseconds of connected time at which it is too late. */
  firstBy: number
  readonly endBy: number
  heard: boolean
}

/**
 * Watches devices that were told. Only time counts in which there is a connection: while it is lost nobody can report, and a
 * broker that is away for an hour fails no device. The wall clock does not matter.
 */
export function createDeviceWatch(parts: {
  readonly clock: Clock
  readonly limits: WatchLimits
  isConnected(): boolean
  onLate(device: string, why: string): void
}) {
  const { clock, limits } = parts
  const watched = new Map<string, Watched>()
  let elapsed = 0
  let lookedAt = clock.monotonic()
  let wasConnected = parts.isConnected()
  let cancel: (() => void) | undefined

  function look(): void {
    const now = clock.monotonic()
    const connected = parts.isConnected()
    if (connected && wasConnected) elapsed += now - lookedAt
    wasConnected = connected
    lookedAt = now
    if (connected) {
      for (const [device, { firstBy, endBy, heard }] of watched) {
        if (elapsed >= endBy) late(device, `it did not end within ${limits.whole} s`)
        else if (!heard && elapsed >= firstBy) late(device, `it did not report within ${limits.first_report} s`)
      }
    }
    cancel = clock.after(LOOK_MS, look)
  }
  function late(device: string, why: string): void {
    watched.delete(device)
    parts.onLate(device, why)
  }
  look()

  return {
    /** From now on; `heard`: it has reported before. */
    begin(device: string, heard: boolean): void {
      watched.set(device, {
        firstBy: elapsed + limits.first_report * 1000,
        endBy: elapsed + limits.whole * 1000,
        heard,
      })
    },
    heard(device: string): void {
      const found = watched.get(device)
      if (found !== undefined) found.heard = true
    },
    end: (device: string) => void watched.delete(device),
    close: () => cancel?.(),
  }
}
