import type { Clock } from '../../../core/clock.ts'
import { mhvError } from '../../../core/errors.ts'
import { createHeadTail } from '../../../core/head-tail.ts'
import type { SessionScreen } from '../screen/session-screen.ts'
import type { ShellMark } from '../screen/stream-scanner.ts'
import type { PtyExit } from '../sessions/pty-session.ts'
import { MAX_COMMAND, markedLine, selfMarkedLine } from './command-line.ts'
import { newNonce } from './shell-integration.ts'

/** What is known about the shell that reads the command. */
export interface RunShell {
  /** The word of its marks; null where it was not started with marks. */
  readonly nonce: string | null
  /** It marks where outputs begin (bash, zsh), and reads lines of any length. */
  readonly marksOutput: boolean
  /** Another shell without marks runs in this one (ssh, sudo, a container), and is meant. */
  readonly nested?: boolean
}

export interface RunOptions {
  readonly clock: Clock
  /** Milliseconds. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal
  /** Bytes of the beginning and of the end of the output that are kept. */
  readonly limits: { readonly head: number; readonly tail: number }
  /** Types; the session's own way of writing, so that it is recorded as input. */
  write(bytes: Uint8Array): Promise<void>
}

export interface RunResult {
  /** `done`: the shell is back; `timeout`: it is not, and the command goes on; `exit`: the session has ended. */
  readonly outcome: 'done' | 'timeout' | 'exit'
  /** Null where the command has not ended, or ended with the session. */
  readonly exit_code: number | null
  /** What the command wrote, the terminal's CR LF turned back into LF; invalid UTF-8 as U+FFFD. */
  readonly output: string
  /** Bytes of the whole output, as the terminal had them. */
  readonly output_bytes: number
  /** Bytes of it that are not in `output`. */
  readonly dropped_bytes: number
  /** Whether the output begins and ends where the shell said. A syntax error is told without a beginning. */
  readonly exact: boolean
  readonly exit: PtyExit | null
  /** Byte cursor after it. */
  readonly offset: number
  readonly elapsed_ms: number
}

/**
 * Types a command at the prompt of a shell and returns exactly what it wrote, and its exit code.
 *
 * @throws MHV_TERMINAL_BUSY where the shell does not wait for a command; MHV_INPUT_INVALID for a command that cannot be
 *   typed; what `write` throws; the signal's reason (the command goes on then: send it a signal)
 */
export async function runCommand(
  screen: SessionScreen,
  shell: RunShell,
  command: string,
  options: RunOptions,
): Promise<RunResult> {
  const started = options.clock.monotonic()
  const { nonce: expected } = lineFor(screen, shell, command)
  options.signal?.throwIfAborted()
  await promptShown(screen, expected, options)
  // Somebody may have begun a command meanwhile.
  const { nonce, line } = lineFor(screen, shell, command)
  const capture = captureOutput(screen, nonce, options.limits)
  try {
    // Ctrl+U first: whatever somebody left on the line is not part of the command.
    await options.write(Buffer.from(`\x15${line}\r`))
    const ended = await whenEnded(screen, capture, options)
    return { ...capture.result(), ...ended, elapsed_ms: Math.round(options.clock.monotonic() - started) }
  } finally {
    capture.stop()
  }
}

function lineFor(screen: SessionScreen, shell: RunShell, command: string): { nonce: string; line: string } {
  if (command.trim() === '' || Buffer.byteLength(command) > MAX_COMMAND || command.includes('\0')) {
    throw mhvError('MHV_INPUT_INVALID', `command: must have 1 to ${MAX_COMMAND} bytes, and no NUL`)
  }
  const last = screen.lastMark()
  if (shell.nested || shell.nonce === null || !last || !hasNonce(last, shell.nonce)) {
    const nonce = newNonce()
    return { nonce, line: selfMarkedLine(command, nonce) }
  }
  if (last.kind === 'C') {
    throw mhvError('MHV_TERMINAL_BUSY', 'the shell of this session is running a command, and would not read another', {
      details: { since_offset: last.end },
    })
  }
  const line = markedLine(command, shell.nonce, !shell.marksOutput, shell.marksOutput)
  return { nonce: shell.nonce, line }
}

/** How long a prompt may take to be shown after the end of the command before it, in milliseconds. */
const PROMPT_MS = 1_000

/**
 * The end of a command is told before its shell has turned the terminal's echo off again. What is typed in between is
 * echoed by the kernel, which may do that after it has woken the shell: then the echo stands in the output.
 */
async function promptShown(screen: SessionScreen, nonce: string, { clock, signal }: RunOptions): Promise<void> {
  const isAwaited = (mark: ShellMark | undefined) =>
    mark !== undefined && hasNonce(mark, nonce) && (mark.kind === 'D' || mark.kind === 'A')
  if (!isAwaited(screen.lastMark())) return
  const { promise: shown, resolve } = Promise.withResolvers<void>()
  const cancel = clock.after(PROMPT_MS, resolve)
  const stop = screen.onMark((mark) => {
    if (!isAwaited(mark)) resolve()
  })
  signal?.addEventListener('abort', () => resolve(), { once: true })
  try {
    await shown
    signal?.throwIfAborted()
  } finally {
    cancel()
    stop()
  }
}

const hasNonce = (mark: ShellMark, nonce: string) => mark.rest.at(-1) === `mhv=${nonce}`

interface Capture {
  /** Resolves with the exit code when the shell has said that the command ended. */
  readonly ended: Promise<number | null>
  result(): Pick<RunResult, 'output' | 'output_bytes' | 'dropped_bytes' | 'exact' | 'offset'>
  stop(): void
}

/** Follows the output from now on. Marks are told before the bytes that hold them, so none is taken by mistake. */
function captureOutput(screen: SessionScreen, nonce: string, limits: RunOptions['limits']): Capture {
  const kept = createHeadTail(limits)
  // Without a beginning everything counts, from the typed line on.
  const early = createHeadTail(limits)
  const range = { from: Number.POSITIVE_INFINITY, to: Number.POSITIVE_INFINITY }
  const first = screen.end()
  const counts = { kept: 0, early: 0 }
  let finished: (code: number | null) => void = () => {}
  const ended = new Promise<number | null>((resolve) => {
    finished = resolve
  })

  const stopMarks = screen.onMark((mark) => {
    if (!hasNonce(mark, nonce) || range.to !== Number.POSITIVE_INFINITY) return
    if (mark.kind === 'C' && range.from === Number.POSITIVE_INFINITY) range.from = mark.end
    if (mark.kind === 'D') {
      range.to = mark.start
      finished(/^\d+$/.test(mark.rest[0] ?? '') ? Number(mark.rest[0]) : null)
    }
  })
  const stopOutput = screen.onOutput((bytes, offset) => {
    const between = (from: number, to: number) => bytes.subarray(Math.max(0, from - offset), Math.max(0, to - offset))
    const wanted = between(range.from, range.to)
    if (range.from !== Number.POSITIVE_INFINITY && wanted.length > 0) {
      counts.kept += wanted.length
      kept.push(wanted)
    } else if (range.from === Number.POSITIVE_INFINITY) {
      const all = between(first, range.to)
      counts.early += all.length
      early.push(all)
    }
  })

  return {
    ended,
    result() {
      const exact = range.from !== Number.POSITIVE_INFINITY
      const [source, bytes] = exact ? [kept, counts.kept] : [early, counts.early]
      const text = source.text((dropped) => `\n[${dropped} bytes left out]\n`).replaceAll('\r\n', '\n')
      return {
        output: exact ? text : withoutEcho(text),
        output_bytes: bytes,
        dropped_bytes: source.dropped(),
        exact: exact && range.to !== Number.POSITIVE_INFINITY,
        offset: screen.end(),
      }
    },
    stop() {
      stopMarks()
      stopOutput()
    },
  }
}

/** The typed line, as the terminal showed it. */
const withoutEcho = (text: string) => text.slice(text.indexOf('\n') + 1)

type Ended = Pick<RunResult, 'outcome' | 'exit_code' | 'exit'>

async function whenEnded(screen: SessionScreen, capture: Capture, options: RunOptions): Promise<Ended> {
  const over = new AbortController()
  const signal = options.signal ? AbortSignal.any([options.signal, over.signal]) : over.signal
  try {
    return await Promise.race([
      capture.ended.then((exit_code): Ended => ({ outcome: 'done', exit_code, exit: null })),
      screen.session.exited.then((exit): Ended => ({ outcome: 'exit', exit_code: null, exit })),
      options.clock
        .sleep(options.timeoutMs, signal)
        .then((): Ended => ({ outcome: 'timeout', exit_code: null, exit: null })),
    ])
  } finally {
    over.abort()
  }
}
