/**
 * Entry of the process of a worker; started by start-child.ts. It ends with the main process: what is told to nobody
 * must not go on. That is what happens to a worker of the main process too.
 */
import { Socket } from 'node:net'
import { createChannel } from './channel.ts'
import { createChildWorker } from './child-worker.ts'
import { createPeer, type Peer } from './peer.ts'
import type { ParentMethods } from './protocol.ts'

/** See start-child.ts. */
const CHANNEL_FD = 3

const end = () => process.exit(0)
const channel = createChannel(new Socket({ fd: CHANNEL_FD, readable: true, writable: true }), {
  receive: (message) => parent.receive(message),
  broken(why) {
    process.stderr.write(`${why}\n`)
    process.exit(1)
  },
  closed: end,
})

const own: object = createChildWorker({
  call: (...args) => parent.call(...args),
  tell: (...args) => parent.tell(...args),
})
const parent: Peer<ParentMethods> = createPeer<ParentMethods>(own, channel.send)

// Whoever stops the service stops the main process, which lets its runs end first.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined)
