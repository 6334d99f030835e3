/**
 * Entry of the process of a worker; started by start-child.ts. It ends with the main process: what is told to nobody
 * must not go on. That is what happens to a worker of the main process too.
 */
import { createChildWorker } from './child-worker.ts'
import { createPeer, type Peer } from './peer.ts'
import type { ParentMethods } from './protocol.ts'

const send = (message: unknown) => {
  // Without a channel there is nobody to tell, and `disconnect` ends the process.
  if (process.connected) process.send?.(message)
}

const own: object = createChildWorker({
  call: (...args) => parent.call(...args),
  tell: (...args) => parent.tell(...args),
})
const parent: Peer<ParentMethods> = createPeer<ParentMethods>(own, send)

process.on('message', parent.receive)
process.on('disconnect', () => process.exit(0))
// Whoever stops the service stops the main process, which lets its runs end first.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined)
