import type { Readable } from 'node:stream'

/** An output of the process, as the command line uses it. */
export interface OutStream {
  write(text: string | Uint8Array, done: (error?: Error | null) => void): unknown
  on(event: 'error', listener: (error: Error) => void): unknown
  readonly isTTY?: boolean
  readonly columns?: number
}

/** The process around a command; tests have their own. */
export interface CliIo {
  readonly stdin: Readable & { readonly isTTY?: boolean }
  readonly stdout: OutStream
  readonly stderr: OutStream
  /** Calls back at SIGINT, SIGTERM and SIGHUP; the returned function stops that. */
  onInterrupt(listener: () => void): () => void
  /** Leaves at once. */
  exit(code: number): void
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

export function processIo(): CliIo {
  return {
    stdin: process.stdin,
    stdout: process.stdout,
    stderr: process.stderr,
    onInterrupt(listener) {
      for (const signal of SIGNALS) process.on(signal, listener)
      return () => {
        for (const signal of SIGNALS) process.off(signal, listener)
      }
    },
    exit: (code) => process.exit(code),
  }
}
