import { spawn } from 'node:child_process'
import { closeSync, constants, openSync, readFileSync, rmSync, statSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Clock } from '../../../core/clock.ts'
import { entryPoint } from '../../../core/entry-point.ts'
import { mhvError, systemCode } from '../../../core/errors.ts'
import { BASE_ENVIRONMENT, hiddenDescriptors } from '../../../core/exec.ts'
import { hostFiles, makeHostFolder } from './host-folder.ts'

/** How long a host may take to be there, in milliseconds; it is there after some 60 where the machine is idle. */
const START_MS = 15_000
const POLL_MS = 10
/** Bytes of the log of earlier hosts that are kept. */
const MAX_LOG_BYTES = 1_048_576
/** JavaScript memory of the host; the scrollback is beside it. */
const HEAP_MB = 64

/**
 * Starts the program in the background and ends: it is nobody's child from then on, so that whoever ends this process
 * and everything below does not end the terminals with it.
 */
const SCRIPT = '"$@" &'

export interface HostConnection {
  readonly socket: Socket
  readonly token: string
}

/** A connection to the host that is there; null where there is none. */
export async function connectHost(folder: string): Promise<HostConnection | null> {
  const files = hostFiles(folder)
  let token: string
  try {
    token = readFileSync(files.token, 'utf8')
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null
    throw unreachable(folder, error)
  }
  return new Promise((resolve, reject) => {
    const socket = connect(files.socket)
    socket.once('connect', () => {
      socket.removeAllListeners('error')
      resolve({ socket, token })
    })
    socket.once('error', (error) => {
      const code = systemCode(error)
      // A dead host leaves both files behind.
      if (code === 'ENOENT' || code === 'ECONNREFUSED') resolve(null)
      else reject(unreachable(folder, error))
    })
  })
}

/**
 * A connection to the host of this folder, which is started where it is not there.
 *
 * @throws MHV_TERMINAL_HOST_DOWN
 */
export async function startHost(folder: string, clock: Clock): Promise<HostConnection> {
  makeHostFolder(folder)
  const there = await connectHost(folder)
  if (there !== null) return there
  // What a dead host left: the token that is found from now on is that of the new one.
  rmSync(hostFiles(folder).token, { force: true })
  await launch(folder)
  const until = clock.monotonic() + START_MS
  while (clock.monotonic() < until) {
    const connection = await connectHost(folder)
    if (connection !== null) return connection
    await clock.sleep(POLL_MS)
  }
  throw mhvError(
    'MHV_TERMINAL_HOST_DOWN',
    `the PTY host in ${folder} was not there ${START_MS / 1000} s after its start`,
    {
      retryAfter: 1,
      details: { folder },
    },
  )
}

async function launch(folder: string): Promise<void> {
  const entry = fileURLToPath(entryPoint(import.meta.url, './main'))
  const nothing = openSync('/dev/null', 'r+')
  const log = openLog(hostFiles(folder).log)
  try {
    const node = [process.execPath, `--max-old-space-size=${HEAP_MB}`, '--max-semi-space-size=2', entry, folder]
    const child = spawn('/bin/sh', ['-c', SCRIPT, 'sh', ...node], {
      cwd: '/',
      env: ownEnvironment(),
      stdio: [nothing, nothing, log, ...hiddenDescriptors(nothing)],
      // A session of its own: neither Ctrl-C nor the end of the terminal that we run in is for it.
      detached: true,
    })
    const code = await new Promise<number | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('exit', resolve)
    })
    if (code !== 0) throw new Error(`the shell that starts it ended with ${code}`)
  } catch (error) {
    throw unreachable(folder, error)
  } finally {
    closeSync(log)
    closeSync(nothing)
  }
}

function openLog(path: string): number {
  const isLong = (statSync(path, { throwIfNoEntry: false })?.size ?? 0) > MAX_LOG_BYTES
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_APPEND | (isLong ? constants.O_TRUNC : 0)
  return openSync(path, flags, 0o600)
}

/** Nothing of it reaches a program in a terminal: a session brings its own. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const names = [...BASE_ENVIRONMENT, 'NODE_COMPILE_CACHE', 'NODE_V8_COVERAGE']
  const known = names.filter((name) => process.env[name] !== undefined)
  return Object.fromEntries(known.map((name) => [name, process.env[name]]))
}

function unreachable(folder: string, error: unknown) {
  const why = error instanceof Error ? error.message : String(error)
  return mhvError('MHV_TERMINAL_HOST_DOWN', `the PTY host in ${folder} cannot be reached: ${why}`, {
    cause: error,
    retryAfter: 1,
    details: { folder },
  })
}
