import { HEAD_ROOM } from './bulk-data.ts'

/** What bounds a transfer: the bytes in flight, the buffers, and how many files are worked on at once. */

/** Largest request that OpenSSH takes: 256 KiB less 1 KiB for what stands around the data (sftp-server.c). */
export const CHUNK = 255 * 1024
/** Requests of that size in flight; more of them are no faster (measured on loopback, 1 ms and 50 ms). */
export const WINDOW = 16
/** Files at once, each on its own requests. */
export const FILES_AT_ONCE = 32

/** A budget of bytes, first come first served. A piece larger than all of it gets all of it. */
export interface Budget {
  take(bytes: number): Promise<void> | undefined
  /** False where it would have to wait. */
  tryTake(bytes: number): undefined | false
  give(bytes: number): void
}

export function createBudget(total: number): Budget {
  let free = total
  const waiting: { readonly bytes: number; readonly go: () => void }[] = []
  return {
    take(bytes) {
      const want = Math.min(bytes, total)
      if (waiting.length === 0 && want <= free) {
        free -= want
        return undefined
      }
      return new Promise((go) => waiting.push({ bytes: want, go }))
    },
    tryTake(bytes) {
      if (waiting.length > 0 || bytes > free) return false
      free -= bytes
      return undefined
    },
    give(bytes) {
      free += Math.min(bytes, total)
      for (let next = waiting[0]; next !== undefined && next.bytes <= free; next = waiting[0]) {
        free -= next.bytes
        waiting.shift()
        next.go()
      }
    },
  }
}

/** Buffers of one chunk and the head of its request, used again and again. */
export interface Buffers {
  take(): Buffer
  give(buffer: Buffer): void
}

export function createBuffers(keep = FILES_AT_ONCE): Buffers {
  const free: Buffer[] = []
  return {
    take: () => free.pop() ?? Buffer.allocUnsafeSlow(HEAD_ROOM + CHUNK),
    give(buffer) {
      if (free.length < keep) free.push(buffer)
    },
  }
}

/**
 * Works on the items with so many at once, in their order. After the first failure no further one is begun; rejects
 * with it when those under way have ended.
 */
export async function eachOf<T>(
  items: Iterable<T>,
  atOnce: number,
  work: (item: T) => Promise<void>,
  stop: () => boolean = () => false,
): Promise<void> {
  const iterator = items[Symbol.iterator]()
  let failed: { readonly error: unknown } | undefined
  async function lane(): Promise<void> {
    while (failed === undefined && !stop()) {
      const next = iterator.next()
      if (next.done === true) return
      try {
        await work(next.value)
      } catch (error) {
        failed ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
  if (failed !== undefined) throw failed.error
}

/** Waits for a set of promises that comes into being piece by piece; the first failure is thrown by `done`. */
export interface Pending {
  add(promise: Promise<unknown>): void
  /** Throws what has failed so far. */
  check(): void
  /** Resolves when all have ended. */
  done(): Promise<void>
}

export function createPending(): Pending {
  let open = 0
  let failed: { readonly error: unknown } | undefined
  let drained: (() => void) | undefined
  const settle = () => {
    open -= 1
    if (open === 0) drained?.()
  }
  return {
    add(promise) {
      open += 1
      promise.then(settle, (error: unknown) => {
        failed ??= { error }
        settle()
      })
    },
    check() {
      if (failed !== undefined) throw failed.error
    },
    async done() {
      if (open > 0) {
        await new Promise<void>((resolve) => {
          drained = resolve
        })
      }
      if (failed !== undefined) throw failed.error
    },
  }
}
