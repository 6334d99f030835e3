import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs'
import { constants as osConstants } from 'node:os'
import { ReadStream } from 'node:tty'
import { systemCode } from '../../../core/errors.ts'
import { helperPath, type NativePty } from './native-pty.ts'

/** What is started in a terminal. Everything has been checked. */
export interface PtyProgram {
  readonly file: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly cwd: string
  readonly rows: number
  readonly cols: number
}

export interface LocalPtyEvents {
  /**
   * Output. The bytes are overwritten after it returns. `false`: nothing more is read until `resume`; what is in the
   * terminal waits there, and its program with it.
   */
  data(bytes: Uint8Array): boolean
  /** The program has ended and all output was given to `data` before. Called once. */
  exit(code: number | null, signal: string | null): void
}

/** A terminal of this machine with a program in it. */
export interface LocalPty {
  readonly pid: number
  /** Reads on after `data` has returned false. */
  resume(): void
  /** How many of these bytes the terminal has taken: 0 where its program reads nothing. */
  write(bytes: Uint8Array): number
  resize(rows: number, cols: number): void
  /** Hangs up and closes the descriptors. Output that was not read is gone; `exit` is still called. */
  destroy(): void
}

/** One buffer for all: a read is copied before the next one. More than the kernel holds for one terminal at a time. */
const READ_BYTES = 65_536
const buffer = Buffer.allocUnsafeSlow(READ_BYTES)

/**
 * Starts a program in a new terminal.
 *
 * Not a byte is lost, also of a burst right before the end, because the slave side is held open from the same turn on
 * in which the program is started (else the kernel throws away what is unread when the last program closes it), and at
 * the exit the master is read until it is empty before that is let go.
 *
 * @throws what the addon or the kernel says where there is no terminal or no process left; a program that is missing
 *   ends with exit code 1 and a text in its terminal
 */
export function startLocalPty(native: NativePty, program: PtyProgram, events: LocalPtyEvents): LocalPty {
  const { file, args, env, cwd, rows, cols } = program
  const environment = Object.entries(env).map(([name, value]) => `${name}=${value}`)
  let isOver = false
  let isPaused = false
  /** Output that was read when the program had ended, while nobody took it. */
  let tail: Uint8Array[] = []
  let ended: { code: number | null; signal: string | null } | null = null

  // biome-ignore format: the addon's own order of arguments
  const { fd, pid, pty } = native.fork(file, args, environment, cwd, cols, rows, -1, -1, true, helperPath(), (code, signal) => {
    try {
      onExit(code, signal)
    } catch (error) {
      // The addon would swallow it.
      setImmediate(() => {
        throw error
      })
    }
  })
  const slave = holdSlave(pty, { fd, pid })
  let isSlaveOpen = true
  const socket = new ReadStream(fd, {
    onread: {
      buffer,
      callback(count: number, bytes: Uint8Array): boolean {
        isPaused = !deliver(bytes.subarray(0, count))
        return !isPaused
      },
    },
  } as never)
  socket.on('error', () => undefined)
  socket.resume()

  /** What could not be read any more was closed, and its number may be that of another terminal by now. */
  function isOpen(): boolean {
    return !isOver && !socket.destroyed
  }

  function deliver(bytes: Uint8Array): boolean {
    return isOver || events.data(bytes)
  }

  function onExit(code: number, signal: number): void {
    // Look at the signal first: a program that SIGKILL ended comes with code 0.
    ended = signal === 0 ? { code, signal: null } : { code: null, signal: signalName(signal) }
    if (isOpen()) tail = drain(fd)
    closeSlave()
    if (!isPaused || isOver) finish()
  }

  /** Gives what was read at the exit, as far as it is taken, then tells the end. */
  function finish(): void {
    while (tail.length > 0) {
      isPaused = !deliver(tail.shift() as Uint8Array)
      if (isPaused && tail.length > 0) return
    }
    if (ended === null) return
    const { code, signal } = ended
    ended = null
    close()
    events.exit(code, signal)
  }

  function closeSlave(): void {
    if (!isSlaveOpen) return
    isSlaveOpen = false
    closeSync(slave)
  }

  function close(): void {
    if (isOver) return
    isOver = true
    closeSlave()
    socket.destroy()
  }

  return {
    pid,
    resume() {
      isPaused = false
      if (ended !== null) finish()
      else if (isOpen()) socket.resume()
    },
    write: (bytes) => (isOpen() ? writeSome(fd, bytes) : bytes.length),
    resize(newRows, newCols) {
      if (isOpen()) native.resize(fd, newCols, newRows, 0, 0)
    },
    destroy() {
      tail = []
      close()
      if (ended !== null) finish()
    },
  }
}

/** Where there is no descriptor left, the program that runs already must not stay. */
function holdSlave(path: string, { fd, pid }: { readonly fd: number; readonly pid: number }): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK)
  } catch (error) {
    process.kill(pid, 'SIGKILL')
    closeSync(fd)
    throw error
  }
}

/** Everything that can be read now. The kernel holds some 64 KiB for one terminal. */
function drain(fd: number): Uint8Array[] {
  const pieces: Uint8Array[] = []
  for (;;) {
    try {
      const count = readSync(fd, buffer)
      if (count === 0) return pieces
      pieces.push(Uint8Array.prototype.slice.call(buffer, 0, count))
    } catch (error) {
      const code = systemCode(error)
      if (code === 'EINTR') continue
      // EAGAIN: empty. EIO: empty, and nobody has the other side.
      return pieces
    }
  }
}

function writeSome(fd: number, bytes: Uint8Array): number {
  try {
    return writeSync(fd, bytes)
  } catch (error) {
    const code = systemCode(error)
    if (code === 'EAGAIN' || code === 'EINTR') return 0
    // EIO: nobody reads it any more, and the exit is about to be told.
    if (code === 'EIO') return bytes.length
    throw error
  }
}

function signalName(number: number): string {
  const found = Object.entries(osConstants.signals).find(([, value]) => value === number)
  return found?.[0] ?? `SIG${number}`
}
