import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { ReadStream } from 'node:tty'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { type CastEvent, parseCast } from '../../core/asciicast.ts'
import type { EnvelopeInput } from '../../core/envelope.ts'
import { EXIT } from '../../core/error-table.ts'
import { mhvError } from '../../core/errors.ts'
import type { Invocation, TerminalOptions } from './commands.ts'
import { runOperation, showEnding } from './run-operation.ts'
import { type Session, withInstance } from './session.ts'
import { RESTORE, withoutClipboard } from './terminal-state.ts'

type Call = Extract<Invocation, { kind: 'operation' }>

/** How long answers of the terminal to what is replayed may take, in milliseconds: they must not be typed afterwards. */
const ANSWERS_MS = 150

/** Plays a recording on this terminal; where there is none, writes all of it at once. Resolves with the exit code. */
export async function runReplay(session: Session, call: Call): Promise<number> {
  const { globals, io, out } = session
  if (globals.json || (call.input.format ?? 'file') !== 'file') return runOperation(session, call)
  return withInstance(session, 'use', 'terminal replay', async (instance) => {
    const result = await instance.invoke({
      operation: call.operation.id,
      input: call.input,
      envelope: call.envelope as EnvelopeInput,
      principal: instance.principal,
      surface: 'cli',
      signal: session.interrupt,
    })
    if (result.status !== 'completed') return showEnding(out, result)
    const { files } = result.data as { readonly files: readonly string[] }
    const events = (await Promise.all(files.map((file) => eventsOf(join(instance.folder, file))))).flat()
    if (io.stdout.isTTY === true) await play(session, events, call.terminal ?? {})
    else out.data(events.flatMap(({ kind, data }) => (kind === 'o' ? data : [])).join(''))
    return EXIT.ok
  })
}

async function eventsOf(file: string): Promise<readonly CastEvent[]> {
  try {
    return parseCast((await promisify(gunzip)(await readFile(file))).toString('utf8')).events
  } catch (error) {
    throw mhvError('MHV_TERMINAL_RECORDING_UNKNOWN', `${file} cannot be read: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

/** In its own time. Keys are taken and thrown away, but for q and Ctrl+C, which end it, and the space bar, which pauses. */
async function play(
  { io, out, interrupt }: Session,
  events: readonly CastEvent[],
  { speed = 1, idle = 2 }: TerminalOptions,
) {
  const stdin = io.stdin as ReadStream
  const stop = new AbortController()
  let pause: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined
  const onKey = (bytes: Buffer) => {
    if (bytes.includes(0x03) || bytes.equals(Buffer.from('q'))) {
      stop.abort()
      pause?.resolve()
    } else if (bytes.equals(Buffer.from(' '))) {
      if (pause === undefined) pause = Promise.withResolvers<void>()
      else pause.resolve()
    }
  }
  const signal = AbortSignal.any([stop.signal, interrupt])
  const raw = stdin.isTTY === true
  if (raw) {
    stdin.setRawMode(true)
    stdin.on('data', onKey)
  }
  try {
    const shown = withoutClipboard()
    let last = events[0]?.at ?? 0
    for (const { at, kind, data } of events) {
      if (kind !== 'o') continue
      const wait = Math.min(idle, Math.max(0, at - last) / speed)
      last = at
      if (wait > 0) await delay(wait * 1_000, undefined, { signal }).catch(() => undefined)
      if (pause !== undefined) {
        await pause.promise
        pause = undefined
      }
      if (signal.aborted) break
      await new Promise<void>((done) => void io.stdout.write(shown(data), () => done()))
    }
    await delay(ANSWERS_MS)
  } finally {
    if (raw) {
      stdin.off('data', onKey)
      stdin.setRawMode(false)
      stdin.pause()
    }
    io.stdout.write(RESTORE, () => undefined)
    out.note('the recording has ended')
  }
}
