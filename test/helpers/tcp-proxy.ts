import { connect, createServer, type Socket } from 'node:net'

/** A TCP proxy on loopback that can fail as networks do. */
export interface TcpProxy {
  readonly port: number
  /** Connections open now. */
  count(): number
  /** Most connections that were open at once so far. */
  most(): number
  /** Bytes that came from clients so far. */
  bytesIn(): number
  /** Breaks all connections with a reset; new ones still work. */
  cut(): void
  /** The same, as soon as so many further bytes were passed on, in whichever direction. */
  cutAfter(bytes: number): void
  /** From now on nothing is passed on, in either direction, and nobody is told: a dead link. */
  stall(): void
  /** As `stall`, but only for the connections that there are. */
  stallOpen(): void
  /** Passes on again, what was held back first. */
  resume(): void
  /** Milliseconds by which everything is delayed, each way. */
  delay(ms: number): void
  /** Takes no new connections (they are refused). */
  refuse(): Promise<void>
  close(): Promise<void>
}

/** Connections that are open now, and the most that ever were: of one proxy, or of several that count together. */
export interface ConnectionCount {
  open: number
  most: number
}

export async function startTcpProxy(
  target: { readonly host?: string; readonly port: number },
  together: ConnectionCount = { open: 0, most: 0 },
): Promise<TcpProxy> {
  const sockets = new Set<Socket>()
  const dead = new WeakSet<Socket>()
  const held: (() => void)[] = []
  let stalled = false
  let delayMs = 0
  let bytesIn = 0
  const own: ConnectionCount = { open: 0, most: 0 }
  /** Bytes until the cut; Infinity while there is none ahead. */
  let left = Number.POSITIVE_INFINITY

  function cutAll(): void {
    left = Number.POSITIVE_INFINITY
    held.length = 0
    for (const socket of sockets) {
      // While a FIN is on its way libuv refuses the reset, and the handle would never be closed.
      if (socket.writableEnded) socket.destroy()
      else socket.resetAndDestroy()
    }
  }

  /** The bytes that still get through; with the last of them everything is cut. */
  function until(bytes: Buffer, to: Socket): boolean {
    if (left > bytes.length) {
      left -= bytes.length
      return to.write(bytes)
    }
    const last = bytes.subarray(0, left)
    left = Number.POSITIVE_INFINITY
    return to.write(last, cutAll)
  }

  function pass(from: Socket, to: Socket, count: boolean): void {
    sockets.add(from)
    const act = (step: () => void) => {
      if (dead.has(from)) return
      if (stalled) held.push(step)
      else if (delayMs > 0) setTimeout(step, delayMs)
      else step()
    }
    from.on('data', (bytes) => {
      if (count) bytesIn += bytes.length
      act(() => {
        if (!to.destroyed && !until(bytes, to)) from.pause()
      })
    })
    to.on('drain', () => from.resume())
    from.on('end', () => act(() => to.end()))
    from.on('error', () => to.destroy())
    from.on('close', () => {
      sockets.delete(from)
      if (!stalled) to.destroy()
    })
  }

  const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    const upstream = connect({
      host: target.host ?? '127.0.0.1',
      port: target.port,
      noDelay: true,
      allowHalfOpen: true,
    })
    for (const count of [own, together]) {
      count.open += 1
      count.most = Math.max(count.most, count.open)
    }
    client.once('close', () => {
      for (const count of [own, together]) count.open -= 1
    })
    pass(client, upstream, true)
    pass(upstream, client, false)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const stopListening = () => new Promise<void>((resolve) => server.close(() => resolve()))

  return {
    port: typeof address === 'object' && address ? address.port : 0,
    count: () => sockets.size / 2,
    most: () => own.most,
    bytesIn: () => bytesIn,
    cut: cutAll,
    cutAfter(bytes) {
      left = bytes
    },
    stall() {
      stalled = true
    },
    stallOpen() {
      for (const socket of sockets) dead.add(socket)
    },
    resume() {
      stalled = false
      for (const step of held.splice(0)) step()
    },
    delay(ms) {
      delayMs = ms
    },
    async refuse() {
      // Resolves only when all connections have gone; listening ends at once.
      void stopListening()
    },
    async close() {
      stalled = false
      held.length = 0
      const closed = stopListening()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
}
