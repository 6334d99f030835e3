import { createRequire } from 'node:module'
import { mhvError } from '../../../core/errors.ts'

/** What `fork` of the package's addon gives. */
export interface ForkedPty {
  /** The master side, non-blocking. */
  readonly fd: number
  readonly pid: number
  /** Path of the slave side: `/dev/pts/3`. */
  readonly pty: string
}

/**
 * The addon of @lydell/node-pty, which its own `Terminal` is built on. That destroys its socket 200 ms after the exit,
 * whether everything was read or not, so it is not used (docs/decisions).
 */
export interface NativePty {
  /** `environment` are `NAME=value`; `onExit` is called once, with signal 0 where none ended it. What it throws is lost. */
  fork(
    file: string,
    args: readonly string[],
    environment: readonly string[],
    cwd: string,
    cols: number,
    rows: number,
    uid: number,
    gid: number,
    utf8: boolean,
    helperPath: string,
    onExit: (code: number, signal: number) => void,
  ): ForkedPty
  resize(fd: number, cols: number, rows: number, pixelWidth: number, pixelHeight: number): void
}

const require = createRequire(import.meta.url)

/** Path of the program that the addon starts on macOS in between; it is next to the addon. */
export function helperPath(): string {
  if (process.platform !== 'darwin') return ''
  const name = `@lydell/node-pty-darwin-${process.arch}`
  return require.resolve(name).replace(/lib\/index\.js$/, `prebuilds/darwin-${process.arch}/spawn-helper`)
}

/** @throws MHV_TERMINAL_NOT_STARTED where the package has no addon for this platform */
export function loadNativePty(): NativePty {
  try {
    const { native } = require('@lydell/node-pty') as { native: NativePty | null }
    if (native !== null && typeof native?.fork === 'function') return native
    throw new Error('the package has no addon for Unix terminals here')
  } catch (error) {
    const why = error instanceof Error ? error.message.split('\n')[0] : String(error)
    throw mhvError(
      'MHV_TERMINAL_NOT_STARTED',
      `terminals cannot be made on ${process.platform}-${process.arch}: ${why}`,
      {
        cause: error,
      },
    )
  }
}
