/**
 * Entry of the PTY host; started by start-host.ts, and on its own from then on. Argument: the folder of its socket.
 */
import { randomBytes } from 'node:crypto'
import { chmodSync, closeSync, existsSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { systemClock } from '../../../core/clock.ts'
import { systemCode } from '../../../core/errors.ts'
import { inheritableDescriptors } from '../../../core/exec.ts'
import { hostFiles } from './host-folder.ts'
import { leaveWorkerCgroup } from './leave-cgroup.ts'
import { loadNativePty } from './native-pty.ts'
import { createPtyHost } from './serve.ts'

const TICK_MS = 500

const folder = process.argv[2] as string
const { socket: socketPath, token: tokenPath } = hostFiles(folder)

async function listen(server: Server): Promise<boolean> {
  for (let attempt = 0; attempt < 3; attempt += 1) {
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen(socketPath, resolve)
      })
      return true
    } catch (error) {
      if (systemCode(error) !== 'EADDRINUSE') throw error
      if (await isAnswered()) return false
      rmSync(socketPath, { force: true })
    }
  }
  return false
}

/** Whether another host is there: what a dead one left refuses. */
function isAnswered(): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socketPath)
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', () => resolve(false))
  })
}

/** Written beside and renamed: nobody reads half a token. */
function writeToken(token: string): void {
  const next = join(folder, `token.${process.pid}`)
  writeFileSync(next, token, { mode: 0o600, flag: 'wx' })
  renameSync(next, tokenPath)
}

function isOwnToken(token: string): boolean {
  try {
    return readFileSync(tokenPath, 'utf8') === token
  } catch {
    return false
  }
}

async function main(): Promise<void> {
  // Whatever starts us puts nothing but /dev/null there; what runs in the terminals gets not even that.
  for (const descriptor of inheritableDescriptors()) closeSync(descriptor)
  leaveWorkerCgroup()
  const token = randomBytes(32).toString('base64url')
  const native = loadNativePty()
  let inode = 0
  const host = createPtyHost({
    native,
    clock: systemClock,
    token,
    over() {
      if (isOwnToken(token)) rmSync(tokenPath, { force: true })
      if (existsSync(socketPath) && statSync(socketPath).ino === inode) rmSync(socketPath, { force: true })
      process.exit(0)
    },
  })
  const server = createServer((socket) => host.accept(socket))
  // For the socket and the token; what runs in the terminals gets back that of the user.
  const umask = process.umask(0o077)
  if (!(await listen(server))) return
  chmodSync(socketPath, 0o600)
  inode = statSync(socketPath).ino
  writeToken(token)
  process.umask(umask)
  setInterval(() => host.tick(isOwnToken(token)), TICK_MS)
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void host.shutdown())
  // The terminal or the service that Mahavishnu was started from may go: the sessions stay.
  process.on('SIGHUP', () => undefined)
}

await main()
