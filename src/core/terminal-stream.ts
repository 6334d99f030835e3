import { createHash } from 'node:crypto'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'

/**
 * The stream between a terminal session and somebody's own terminal on this machine: a Unix socket of the worker, to which
 * the command line connects after a run of `terminal.attach` was accepted. The run's input has the digest of a key that the
 * command line made up; who shows the key is who asked for the run.
 *
 * A frame is one byte of kind, four bytes of length (big endian) and the payload.
 */

/** Number of the format, in `hello` and `welcome`. */
export const STREAM_FORMAT = 1

/** `data` are bytes as they are; all other payloads are JSON. */
export const STREAM_FRAMES = {
  hello: 1,
  welcome: 2,
  data: 3,
  resize: 4,
  detach: 5,
  end: 6,
  refused: 7,
  notice: 8,
} as const
export type StreamFrame = keyof typeof STREAM_FRAMES

/** First frame of whoever attaches. */
export interface StreamHello {
  readonly format: number
  readonly key: string
}

export interface StreamSize {
  readonly rows: number
  readonly cols: number
}

/** The answer to a hello; what the screen shows follows as data. */
export interface StreamWelcome extends StreamSize {
  readonly format: number
  readonly session: string
  readonly read_only: boolean
}

/** Why nothing more comes. */
export interface StreamEnd {
  readonly why: 'exited' | 'detached' | 'cancelled'
  readonly exit_code: number | null
  readonly signal: string | null
}

/** What was not done of what came from the attached terminal; the session goes on. */
export interface StreamNotice {
  readonly message: string
}

/** Longest payload, in bytes: a peer that announces more does not speak this. */
export const MAX_FRAME_BYTES = 4 * 1024 * 1024
const HEAD_BYTES = 5

const NAMES = new Map<number, StreamFrame>(
  Object.entries(STREAM_FRAMES).map(([name, kind]) => [kind, name as StreamFrame]),
)

export function frameBytes(kind: StreamFrame, payload: Uint8Array | object): Buffer {
  const body = payload instanceof Uint8Array ? payload : Buffer.from(JSON.stringify(payload))
  const frame = Buffer.allocUnsafe(HEAD_BYTES + body.length)
  frame.writeUInt8(STREAM_FRAMES[kind], 0)
  frame.writeUInt32BE(body.length, 1)
  frame.set(body, HEAD_BYTES)
  return frame
}

/**
 * Takes bytes apart into frames.
 *
 * @param onFrame is given each frame; its payload is a view of the bytes that came
 * @returns throws an Error for what are no frames
 */
export function createFrameReader(onFrame: (kind: StreamFrame, payload: Buffer) => void): (bytes: Uint8Array) => void {
  let held: Buffer = Buffer.alloc(0)
  return (bytes) => {
    held = held.length === 0 ? Buffer.from(bytes) : Buffer.concat([held, bytes])
    while (held.length >= HEAD_BYTES) {
      const kind = NAMES.get(held.readUInt8(0))
      const length = held.readUInt32BE(1)
      if (kind === undefined || length > MAX_FRAME_BYTES) throw new Error('no frame of a terminal stream')
      if (held.length < HEAD_BYTES + length) return
      const payload = held.subarray(HEAD_BYTES, HEAD_BYTES + length)
      held = held.subarray(HEAD_BYTES + length)
      onFrame(kind, payload)
    }
  }
}

/** What stands in the run's input for a key: SHA-256, hex. */
export function streamKeyDigest(key: string): string {
  return createHash('sha256').update(key).digest('hex')
}

/** Longest path of a Unix socket in bytes, its last NUL not counted. */
const MOST_PATH_BYTES = process.platform === 'linux' ? 107 : 103

/** Where the socket of an instance lies; beside the folder of temporary files where the instance's own path is too long. */
export function streamSocketPath(instanceFolder: string): string {
  const folder = resolve(instanceFolder)
  const usual = join(folder, 'run', 'terminal.sock')
  if (Buffer.byteLength(usual) <= MOST_PATH_BYTES) return usual
  const digest = createHash('sha256').update(folder).digest('hex').slice(0, 16)
  return join(tmpdir(), `mahavishnu-${process.getuid?.() ?? 0}-${digest}`, 'terminal.sock')
}

export function streamSocketFolder(instanceFolder: string): string {
  return dirname(streamSocketPath(instanceFolder))
}
