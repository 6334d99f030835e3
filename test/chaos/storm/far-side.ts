import { createServer, type Socket } from 'node:net'
import { createInterface } from 'node:readline'

/** What the instance asks of the far side: one line of JSON, after its greeting. */
export interface FarRequest {
  readonly op: 'append' | 'set' | 'read'
  /** What was wanted, the same in every attempt of every run that is for it. */
  readonly token: string
  readonly run_id: string
  /** Number of the process that asks. */
  readonly life: number
  /** How many of its calls that process has under way, this one included. */
  readonly active: number
  readonly pause_ms: number
  /** When it was sent, by `monotonicMs`: it may be held up on the way. */
  readonly sent_at: number
}

/** The machine's monotonic clock in milliseconds, the same in all processes. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n)
}

/** The greeting: until it has come nothing was asked for, and nothing can have been done. */
export const GREETING = 'ready'

/**
 * The other end of the line, in a process that no fault reaches: it does what it is asked for, whether or not anybody
 * waits for the answer, and keeps the ledger that the instance's journal is checked against.
 */
export interface FarSide {
  readonly port: number
  /** What was done that changes something, in order. */
  readonly effects: readonly FarRequest[]
  /** The most calls that a process said to have under way at once. */
  readonly highest: ReadonlyMap<number, number>
  readonly requests: number
  close(): Promise<void>
}

export async function startFarSide(): Promise<FarSide> {
  const effects: FarRequest[] = []
  const highest = new Map<number, number>()
  const sockets = new Set<Socket>()
  const timers = new Set<NodeJS.Timeout>()
  let requests = 0

  function after(ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      timers.delete(timer)
      act()
    }, ms)
    timers.add(timer)
  }

  function serve(socket: Socket, request: FarRequest): void {
    requests += 1
    highest.set(request.life, Math.max(highest.get(request.life) ?? 0, request.active))
    after(request.pause_ms / 2, () => {
      if (request.op !== 'read') effects.push(request)
      after(request.pause_ms / 2, () => {
        if (!socket.destroyed) socket.write('{"done":true}\n')
      })
    })
  }

  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    socket.write(`${GREETING}\n`)
    // Half a line is no JSON, and so no request.
    const lines = createInterface({ input: socket })
    lines.on('line', (line) => {
      const request = parse(line)
      if (request !== null) serve(socket, request)
    })
    lines.on('error', () => undefined)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()

  return {
    port: typeof address === 'object' && address ? address.port : 0,
    effects,
    highest,
    get requests() {
      return requests
    },
    async close() {
      for (const timer of timers) clearTimeout(timer)
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}

function parse(line: string): FarRequest | null {
  try {
    return JSON.parse(line) as FarRequest
  } catch {
    return null
  }
}
