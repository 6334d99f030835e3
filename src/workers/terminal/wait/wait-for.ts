import type { Clock } from '../../../core/clock.ts'
import { mhvError } from '../../../core/errors.ts'
import type { ScreenView } from '../screen/screen.ts'
import type { SessionScreen } from '../screen/session-screen.ts'
import type { PtyExit } from '../sessions/pty-session.ts'
import { createOutputText } from './output-text.ts'
import { type Pattern, type PatternMatch, regexPattern, textPattern } from './pattern.ts'
import { isAtPrompt, looksLikePrompt, PROMPT_QUIET_MS } from './prompt.ts'

/** What may be waited for; the first that comes ends the wait. */
export interface WaitRequest {
  /** This text, exactly. */
  readonly text?: string
  /** A regular expression (RE2), `^` and `$` at lines. */
  readonly regex?: string
  /** The screen has not changed for so many milliseconds. */
  readonly stableMs?: number
  /**
   * The shell waits for the next command. `true`: by its marks where it gives some, else by its looks; `looks`: by its
   * looks in any case, for a shell within the shell.
   */
  readonly prompt?: boolean | 'looks'
  /** The program has ended. Ends every other wait, too: nothing more can come. */
  readonly exit?: boolean
  /**
   * Byte cursor: `text`, `regex` and `prompt` count only in what was written after it, with control sequences left
   * out. Without it they count on the screen, the lines that scroll off while waiting included.
   */
  readonly after?: number
  /** Milliseconds. */
  readonly timeoutMs: number
}

export const WAIT_OUTCOMES = ['text', 'regex', 'stable', 'prompt', 'exit', 'timeout'] as const
export type WaitOutcome = (typeof WAIT_OUTCOMES)[number]

export interface WaitResult {
  readonly outcome: WaitOutcome
  /** What was found, for `text` and `regex`. */
  readonly match: PatternMatch | null
  /** How it is known that the prompt is back: the shell said so (OSC 133), or it looks so. */
  readonly prompt_by: 'marks' | 'looks' | null
  /** How the program ended, where it has. */
  readonly exit: PtyExit | null
  /** Byte cursor up to which this is about: go on reading or waiting here. */
  readonly offset: number
  readonly elapsed_ms: number
}

export interface WaitOptions {
  readonly clock: Clock
  readonly signal?: AbortSignal
  /** What is looked at instead of a text: whoever waits sees no more of it than whoever looks. */
  readonly mask?: (text: string) => string
}

type Found = Pick<WaitResult, 'outcome' | 'offset'> & Partial<WaitResult>

/**
 * Waits until something of what was asked for has come, and never longer than the timeout.
 *
 * @throws MHV_INPUT_INVALID where nothing is waited for or a pattern cannot be used; MHV_TERMINAL_ENDED where the
 *   screen was closed; the signal's reason
 */
export async function waitFor(screen: SessionScreen, request: WaitRequest, options: WaitOptions): Promise<WaitResult> {
  const pattern = masked(await patternOf(request), options.mask)
  const started = options.clock.monotonic()
  options.signal?.throwIfAborted()
  const found = await new Promise<Found>((resolve, reject) => {
    const waiting = { screen, request, pattern, clock: options.clock, resolve, reject }
    const stop = start(waiting, options.signal, (settle) => {
      stop()
      settle()
    })
  })
  return {
    match: null,
    prompt_by: null,
    exit: null,
    ...found,
    elapsed_ms: Math.round(options.clock.monotonic() - started),
  }
}

async function patternOf(request: WaitRequest): Promise<{ kind: 'text' | 'regex'; pattern: Pattern } | undefined> {
  const { text, regex, stableMs, prompt, exit } = request
  if (text !== undefined && regex !== undefined)
    throw invalid('text and regex exclude each other: a regex can hold both')
  if (text === undefined && regex === undefined && stableMs === undefined && !prompt && !exit) {
    throw invalid('one of text, regex, stable_ms, prompt and exit must say what to wait for')
  }
  if (text !== undefined) return { kind: 'text', pattern: textPattern(text) }
  return regex === undefined ? undefined : { kind: 'regex', pattern: await regexPattern(regex) }
}

function masked(
  wanted: { kind: 'text' | 'regex'; pattern: Pattern } | undefined,
  mask: WaitOptions['mask'],
): typeof wanted {
  if (wanted === undefined || mask === undefined) return wanted
  const { kind, pattern } = wanted
  return { kind, pattern: { literal: pattern.literal, find: (text) => pattern.find(mask(text)) } }
}

interface Waiting {
  readonly screen: SessionScreen
  readonly request: WaitRequest
  readonly pattern: { kind: 'text' | 'regex'; pattern: Pattern } | undefined
  readonly clock: Clock
  readonly resolve: (found: Found) => void
  readonly reject: (error: unknown) => void
}

/** Sets up everything that may end the wait; the returned function takes it all down again. */
function start(waiting: Waiting, signal: AbortSignal | undefined, end: (settle: () => void) => void): () => void {
  const { screen, request, clock, resolve, reject } = waiting
  const stops: (() => void)[] = []
  let over = false
  const finish = (settle: () => void) => {
    if (over) return
    over = true
    // Not while the screen still goes through its watchers, or before this function has returned.
    queueMicrotask(() => end(settle))
  }
  const found = (result: Found) => finish(() => resolve(result))
  const fail = (error: unknown) => finish(() => reject(error))

  const abort = () => fail(signal?.reason)
  signal?.addEventListener('abort', abort, { once: true })
  stops.push(() => signal?.removeEventListener('abort', abort))
  stops.push(clock.after(request.timeoutMs, () => found({ outcome: 'timeout', offset: screen.end() })))
  if (waiting.pattern && request.after !== undefined) stops.push(watchOutput(waiting, request.after, found, fail))
  if (request.prompt === true) stops.push(watchMarks(waiting, found))
  const quiet = createQuiet(waiting, found)
  stops.push(quiet.stop)
  watchScreen(waiting, quiet, found).then((stop) => {
    if (over) return stop()
    stops.push(stop)
    void screen.session.exited.then((exit) => afterExit(waiting, exit, found, fail))
  }, fail)
  return () => {
    for (const stop of stops) stop()
  }
}

/** What the program wrote last is looked at before its end is told. */
async function afterExit(
  waiting: Waiting,
  exit: PtyExit,
  found: (result: Found) => void,
  fail: (error: unknown) => void,
) {
  try {
    await waiting.screen.modes()
    found({ outcome: 'exit', exit, offset: waiting.screen.end() })
  } catch (error) {
    fail(error)
  }
}

async function watchScreen(waiting: Waiting, quiet: Quiet, found: (result: Found) => void): Promise<() => void> {
  const { pattern, request } = waiting
  const onScreen = request.after === undefined ? pattern : undefined
  // Who waits for output alone needs no screen: looking at it after each piece costs more than all the rest.
  if (onScreen === undefined && request.stableMs === undefined && !request.prompt) return () => {}
  return waiting.screen.watch((view) => {
    const match = onScreen?.pattern.find(view.text())
    if (match && onScreen) return found({ outcome: onScreen.kind, match, offset: view.offset })
    quiet.see(view)
  })
}

/** What was written after the cursor already, as far as it is there, and then what comes. */
function watchOutput(
  waiting: Waiting,
  after: number,
  found: (result: Found) => void,
  fail: (error: unknown) => void,
): () => void {
  const { screen, pattern } = waiting
  const text = createOutputText(pattern?.pattern.literal ?? null)
  const until = screen.end()
  const search = (bytes: Uint8Array, end: number) => {
    const written = text.push(bytes)
    const match = written === null ? null : pattern?.pattern.find(written)
    if (match && pattern) found({ outcome: pattern.kind, match, offset: end })
  }
  let held: { bytes: Uint8Array; offset: number }[] | undefined = []
  const take = (bytes: Uint8Array, offset: number) => {
    const skipped = Math.min(bytes.length, Math.max(0, after - offset))
    if (skipped < bytes.length) search(bytes.subarray(skipped), offset + bytes.length)
  }
  const stop = screen.onOutput((bytes, offset) => {
    if (held) held.push({ bytes, offset })
    else take(bytes, offset)
  })
  readBetween(screen, after, until, take).then(() => {
    for (const { bytes, offset } of held ?? []) take(bytes, offset)
    held = undefined
  }, fail)
  return stop
}

async function readBetween(
  screen: SessionScreen,
  from: number,
  to: number,
  take: (bytes: Uint8Array, offset: number) => void,
) {
  let at = from
  while (at < to) {
    const { bytes, offset } = await screen.session.read(at, to - at)
    const wanted = bytes.subarray(0, Math.max(0, to - offset))
    if (wanted.length === 0) return
    take(wanted, offset)
    at = offset + wanted.length
  }
}

function watchMarks({ screen, request }: Waiting, found: (result: Found) => void): () => void {
  const see = (mark: ReturnType<SessionScreen['lastMark']>) => {
    if (!mark || !isAtPrompt(mark) || mark.start < (request.after ?? 0)) return
    found({ outcome: 'prompt', prompt_by: 'marks', offset: mark.end })
  }
  see(screen.lastMark())
  return screen.onMark(see)
}

interface Quiet {
  see(view: ScreenView): void
  stop(): void
}

/** Ends the wait when the screen has stayed as it is: for `stableMs`, or shorter where it looks like a prompt. */
function createQuiet({ screen, request, clock }: Waiting, found: (result: Found) => void): Quiet {
  let last: string | undefined
  let cancel = () => {}
  let cancelPrompt = () => {}
  return {
    see(view) {
      const { row, col, visible } = view.cursor()
      const now = `${row},${col},${visible}\n${view.lines().join('\n')}`
      if (now === last) return
      last = now
      cancel()
      cancelPrompt()
      const { offset } = view
      if (request.stableMs !== undefined) {
        cancel = clock.after(request.stableMs, () => found({ outcome: 'stable', offset: screen.end() }))
      }
      const byLooks = request.prompt === 'looks' || (request.prompt && !screen.marksPrompts())
      const mayBePrompt = byLooks && offset > (request.after ?? -1)
      if (mayBePrompt && looksLikePrompt(view)) {
        cancelPrompt = clock.after(PROMPT_QUIET_MS, () =>
          found({ outcome: 'prompt', prompt_by: 'looks', offset: screen.end() }),
        )
      }
    },
    stop() {
      cancel()
      cancelPrompt()
    },
  }
}

const invalid = (message: string) => mhvError('MHV_INPUT_INVALID', message)
