import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import type { ReadStream, WriteStream } from 'node:tty'
import type { EnvelopeInput } from '../../core/envelope.ts'
import { EXIT } from '../../core/error-table.ts'
import { mhvError } from '../../core/errors.ts'
import { isFinal, type WorkerResult } from '../../core/result.ts'
import {
  createFrameReader,
  frameBytes,
  STREAM_FORMAT,
  type StreamEnd,
  type StreamNotice,
  streamKeyDigest,
  streamSocketPath,
} from '../../core/terminal-stream.ts'
import type { Instance } from '../../runtime/instance.ts'
import type { Invocation } from './commands.ts'
import { showEnding } from './run-operation.ts'
import { notBegun, type Session, withInstance } from './session.ts'
import { DETACH_KEY, detachByte } from './terminal-options.ts'
import { RESTORE } from './terminal-state.ts'

type Call = Extract<Invocation, { kind: 'operation' }>

/** How long the socket may take to be there, and the run to end after the terminal, in milliseconds. */
const MEET_MS = 10_000
const END_MS = 5_000
const LOOK_MS = 20
/** How much later than the end of its run the last frame may come, in milliseconds. */
const LAST_FRAME_MS = 300

/** Joins this terminal to a session until the detach key is pressed or the session ends. Resolves with the exit code. */
export async function runAttach(session: Session, call: Call): Promise<number> {
  const { io, out, interrupt } = session
  const readOnly = call.input.read_only === true
  if (!readOnly && !(io.stdin.isTTY === true && io.stdout.isTTY === true)) {
    throw mhvError('MHV_CLI_USAGE', 'standard input and output are no terminal', {
      remedy: 'Call it on a terminal, or use --read-only, or `mahavishnu terminal send` and `snapshot`.',
    })
  }
  return withInstance(session, 'use', 'terminal attach', async (instance) => {
    if (interrupt.aborted) throw notBegun()
    const key = randomBytes(32).toString('hex')
    const handle = await begin(instance, call, key)
    if (isFinal(handle.status)) return showEnding(out, handle)
    const run = untilFinal(instance, handle)
    const over = new AbortController()
    void run.then(() => over.abort())
    const socket = await Promise.race([connected(streamSocketPath(instance.folder), over.signal), run])
    if ('run_id' in socket) return showEnding(out, socket)
    const detachKey = call.terminal?.detachKey ?? DETACH_KEY
    const joined = await join(session, socket, { key, readOnly, detachKey, ended: run.then(() => undefined) })
    const result = await Promise.race([run, delay(END_MS, undefined, { ref: false })])
    if (joined !== undefined) return tell(session, joined)
    return result === undefined ? EXIT.unknown_effect : showEnding(out, result)
  })
}

function begin(instance: Instance, { operation, input, envelope }: Call, key: string): Promise<WorkerResult> {
  return instance.invoke({
    operation: operation.id,
    input: { ...input, key_sha256: streamKeyDigest(key) },
    envelope: { ...envelope, wait: 0 } as EnvelopeInput,
    principal: instance.principal,
    surface: 'cli',
  })
}

async function untilFinal(instance: Instance, { run_id }: WorkerResult): Promise<WorkerResult> {
  for (;;) {
    const answer = await instance.control({ name: 'run_wait', input: { run_id }, principal: instance.principal })
    const run = answer.run as WorkerResult
    if (isFinal(run.status)) return run
  }
}

/** The socket is made by the first run that needs it, so it may be a moment away. */
async function connected(path: string, over: AbortSignal): Promise<Socket> {
  const until = performance.now() + MEET_MS
  for (;;) {
    const socket = connect(path)
    const error = await new Promise<Error | undefined>((done) => {
      socket.once('connect', () => done(undefined))
      socket.once('error', done)
    })
    if (error === undefined) return socket
    if (over.aborted || performance.now() > until) {
      throw mhvError('MHV_TERMINAL_NOT_ATTACHED', `nobody answers at ${path}: ${error.message}`, { cause: error })
    }
    await delay(LOOK_MS)
  }
}

interface JoinOptions {
  readonly key: string
  readonly readOnly: boolean
  readonly detachKey: string
  /** The run is over, with or without having met this end. */
  readonly ended: Promise<void>
}

/** Both ways until one end has had enough; undefined where the stream broke off. The terminal is as before afterwards. */
async function join(
  { io, interrupt, out }: Session,
  socket: Socket,
  { key, readOnly, detachKey, ended }: JoinOptions,
): Promise<StreamEnd | undefined> {
  const stdin = io.stdin as ReadStream
  const stdout = io.stdout as WriteStream
  const over = Promise.withResolvers<StreamEnd | undefined>()
  const isTerminal = stdin.isTTY === true && stdout.isTTY === true
  const restore = isTerminal ? makeRaw(stdin, stdout) : () => undefined
  const detach = () => {
    socket.write(frameBytes('detach', {}))
    over.resolve({ why: 'detached', exit_code: null, signal: null })
  }
  const resize = () => {
    if (!readOnly) socket.write(frameBytes('resize', { rows: stdout.rows, cols: stdout.columns }))
  }
  const notice = (message: string) => {
    if (isTerminal) stdout.write(noticeLine(message, stdout.columns))
    else out.note(message)
  }
  const read = createFrameReader((kind, payload) => {
    if (kind === 'data') {
      // The socket is read no further than this terminal can show.
      if (!stdout.write(payload)) {
        socket.pause()
        stdout.once('drain', () => socket.resume())
      }
    } else if (kind === 'end') over.resolve(JSON.parse(payload.toString('utf8')) as StreamEnd)
    else if (kind === 'notice') notice((JSON.parse(payload.toString('utf8')) as StreamNotice).message)
    else if (kind === 'refused') over.resolve(undefined)
  })
  const type = (bytes: Buffer) => {
    const at = isTerminal ? detachAt(bytes, detachKey) : -1
    const typed = at < 0 ? bytes : bytes.subarray(0, at)
    if (!readOnly && typed.length > 0) socket.write(frameBytes('data', typed))
    if (at >= 0) detach()
  }
  try {
    socket.on('data', read)
    socket.once('error', () => over.resolve(undefined))
    socket.once('close', () => over.resolve(undefined))
    socket.write(frameBytes('hello', { format: STREAM_FORMAT, key }))
    interrupt.addEventListener('abort', detach, { once: true })
    // Its last frame goes another way and may come a little later.
    void ended.then(() => delay(LAST_FRAME_MS)).then(() => over.resolve(undefined))
    if (isTerminal) {
      stdin.on('data', type)
      stdout.on('resize', resize)
      resize()
    }
    return await over.promise
  } finally {
    stdin.off('data', type)
    stdin.pause()
    stdout.off('resize', resize)
    interrupt.removeEventListener('abort', detach)
    restore()
    socket.end()
  }
}

/** A message in the last line of the terminal, which rings; the cursor stays where it was. */
export function noticeLine(message: string, columns: number): string {
  const text = message.replace(/[\p{Cc}\p{Cf}]/gu, ' ').slice(0, Math.max(0, columns - 2))
  return `\x1b7\x1b[999;1H\x1b[0;7m ${text} \x1b[0m\x1b[K\x1b8\x07`
}

/** Where in what was typed the detach key is; -1 where it is not. */
export function detachAt(bytes: Buffer, key: string): number {
  const byte = detachByte(key) as number
  const plain = bytes.indexOf(byte)
  if (plain >= 0) return plain
  // As terminals send it whose program has asked for every key to be told apart.
  const character = key.at(-1)?.toLowerCase().charCodeAt(0)
  return bytes.indexOf(`\x1b[${character};5u`)
}

/** Gives back what makes the terminal as it was; that happens also when this process ends in another way. */
function makeRaw(stdin: ReadStream, stdout: WriteStream): () => void {
  let raw = true
  const restore = () => {
    if (!raw) return
    raw = false
    stdin.setRawMode(false)
    stdout.write(RESTORE)
  }
  stdin.setRawMode(true)
  process.once('exit', restore)
  return () => {
    process.off('exit', restore)
    restore()
  }
}

function tell({ out }: Session, { why, exit_code, signal }: StreamEnd): number {
  if (why === 'detached') {
    out.note('detached; the session goes on')
    return EXIT.ok
  }
  if (why === 'cancelled') {
    out.note('the run that attached this terminal was cancelled; the session goes on')
    return EXIT.cancelled
  }
  out.note(
    signal === null
      ? `the session has ended (exit code ${exit_code ?? 'unknown'})`
      : `the session was ended by ${signal}`,
  )
  if (exit_code === null) return signal === null ? EXIT.unknown_effect : EXIT.remote_above_125
  return exit_code <= 125 ? exit_code : EXIT.remote_above_125
}
