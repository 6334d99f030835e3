import type { Readable, Writable } from 'node:stream'
import type { Transport } from '@modelcontextprotocol/server'
import { StdioServerTransport, serveStdio } from '@modelcontextprotocol/server/stdio'
import type { Clock } from '../../core/clock.ts'
import type { Registry } from '../../core/registry.ts'
import { freeYoungGeneration } from '../../core/young-generation.ts'
import type { InstanceOptions, Instances } from '../../runtime/instance.ts'
import type { ExposureOptions } from './exposure.ts'
import { instanceOnDemand } from './on-demand.ts'
import { mcpServerFactory } from './server.ts'

export interface StdioParts extends ExposureOptions {
  readonly registry: Registry
  readonly instances: Instances
  readonly options: InstanceOptions
  readonly version: string
  readonly stdin: Readable
  /** Belongs to the protocol alone. */
  readonly stdout: Writable
  /** Told once for each thing that went wrong on the wire; for standard error. */
  readonly onError: (error: Error) => void
  /** Told of what was thrown without a code; for standard error as well, with its stack. */
  readonly onDefect?: (error: Error) => void
  /** Aborted when the process is told to end. */
  readonly stop: AbortSignal
  readonly clock?: Clock
}

/**
 * Serves MCP over two streams until the client is gone or `stop` is aborted, then ends what runs and closes the
 * instance. Resolves when that is done.
 */
export async function serveMcp(parts: StdioParts): Promise<void> {
  const instance = instanceOnDemand(parts.instances, parts.options)
  const over = Promise.withResolvers<void>()
  const transport = watched(new StdioServerTransport(parts.stdin, parts.stdout), over.resolve)
  const server = serveStdio(mcpServerFactory({ ...parts, instance }), { transport, onerror: parts.onError })
  freeYoungGeneration()
  parts.stop.addEventListener('abort', () => over.resolve(), { once: true })
  if (parts.stop.aborted) over.resolve()
  await over.promise
  await server.close()
  await instance.close()
}

/**
 * The transport, with a word when it has closed: at the end of the input, when nobody reads the output any longer, and
 * after a message that is too large. `serveStdio` tells none of this and leaves the process running.
 */
function watched(inner: Transport, onClosed: () => void): Transport {
  const outer: Transport = {
    start: () => inner.start(),
    send: (message, options) => inner.send(message, options),
    close: () => inner.close(),
  }
  inner.onmessage = (message, extra) => outer.onmessage?.(message, extra)
  inner.onerror = (error) => outer.onerror?.(error)
  inner.onclose = () => {
    outer.onclose?.()
    onClosed()
  }
  return outer
}
