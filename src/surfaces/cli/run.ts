import type { Command } from 'commander'
import { EXIT } from '../../core/error-table.ts'
import { toMhvError } from '../../core/errors.ts'
import type { CliApp, Invocation } from './commands.ts'
import { errorDocument, errorText, exitOf, isCommanderError, usageError } from './failure.ts'
import { type CliIo, processIo } from './io.ts'
import { createOutput } from './output.ts'
import { COMPLETE } from './own-commands.ts'
import { buildProgram, PROGRAM } from './program.ts'
import { listenForInterrupts, type Session } from './session.ts'

export interface CliParts {
  readonly version: string
  /** Loads the program behind the commands. */
  readonly app: () => Promise<CliApp>
  readonly io?: CliIo
  /** The words that start this program, absolute; by default those that started this process. */
  readonly program?: readonly string[]
}

/** Runs one command line (without node and script). Resolves with the exit code, when all output is written. */
export async function runCli(argv: readonly string[], parts: CliParts): Promise<number> {
  const io = parts.io ?? processIo()
  const line = splitLine(argv)
  const program = parts.program ?? process.argv.slice(0, 2)
  const out = createOutput(io, { quiet: line.options.some((word) => word === '--quiet' || word === '-q') })
  try {
    const app = await parts.app()
    const around = { app, io, out, version: parts.version, program }
    const invocation = parseLine(line, around)
    return invocation === null ? EXIT.ok : await act(invocation, around)
  } catch (thrown) {
    // A shell asks in the middle of a line, where there is no room for errors.
    if (argv[0] === COMPLETE) return EXIT.ok
    const error = toMhvError(thrown)
    if (line.options.includes('--json')) out.document(errorDocument(error.toWire()))
    out.complain(errorText(error.toWire()))
    // What has no code is a defect: whoever reports it needs to know where it happened.
    if (error.code === 'MHV_INTERNAL' && error.cause instanceof Error) out.complain(error.cause.stack ?? '')
    return exitOf(error)
  } finally {
    await out.flush()
  }
}

interface SplitLine {
  /** Everything before the first `--`. */
  readonly options: readonly string[]
  /** Everything after it; null where there is none. */
  readonly rest: readonly string[] | null
}

/** Split here, since the parser would make no difference between the words before and after `--`. */
function splitLine(argv: readonly string[]): SplitLine {
  const at = argv.indexOf('--')
  return at < 0 ? { options: argv, rest: null } : { options: argv.slice(0, at), rest: argv.slice(at + 1) }
}

type Around = Pick<Session, 'app' | 'io' | 'out' | 'version' | 'program'>

/** What the command line asks for; null where help or the version was printed. Throws MHV_CLI_USAGE. */
function parseLine({ options, rest }: SplitLine, { app, io, out, version }: Around): Invocation | null {
  let invocation: Invocation | null = null
  const found = (one: Invocation) => {
    invocation = one
  }
  const words = new Set([...options, ...(rest ?? [])])
  const program = buildProgram({ registry: app.registry, version, rest, found, line: words })
  everyCommand(program, (command) =>
    command.exitOverride().configureOutput({
      writeOut: (text) => out.say(text),
      writeErr: (text) => out.complain(text),
      outputError: () => undefined,
      getOutHelpWidth: () => out.columns ?? 80,
      getErrHelpWidth: () => io.stderr.columns ?? 80,
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    }),
  )
  try {
    program.parse(options as string[], { from: 'user' })
  } catch (thrown) {
    if (!isCommanderError(thrown)) throw thrown
    const error = usageError(thrown, helpCommandOf(program, options))
    if (error !== null) throw error
    return null
  }
  return invocation
}

function everyCommand(command: Command, act: (command: Command) => void): void {
  act(command)
  for (const each of command.commands) everyCommand(each, act)
}

/** The command whose help has the answer: as much of the line as is known. */
function helpCommandOf(program: Command, options: readonly string[]): string {
  let command = program
  const words = [PROGRAM]
  for (const word of options) {
    const next = command.commands.find((each) => each.name() === word)
    if (next === undefined) continue
    command = next
    words.push(word)
  }
  return words.join(' ')
}

const ACTING: ReadonlySet<Invocation['kind']> = new Set(['operation', 'control', 'follow', 'mcp', 'up', 'demo-mqtt'])

async function act(invocation: Invocation, around: Around): Promise<number> {
  // What only prints acts on nothing: a signal may end it in its own way.
  const interrupts = ACTING.has(invocation.kind) ? listenForInterrupts(around.io, around.out) : null
  const interrupt = interrupts?.signal ?? new AbortController().signal
  const session: Session = { ...around, globals: invocation.globals, interrupt }
  try {
    switch (invocation.kind) {
      case 'operation':
        return await runsOperation(session, invocation)
      case 'control':
        return await (await import('./run-control.ts')).runControl(session, invocation)
      case 'follow':
        return await (await import('./run-follow.ts')).runFollow(session, invocation)
      case 'config':
        return await (await import('./run-own.ts')).runConfig(session, invocation)
      case 'doctor':
        return await (await import('./run-own.ts')).runDoctor(session)
      case 'mcp':
        return await (await import('./run-own.ts')).runMcp(session, invocation)
      case 'mcp-config':
        return await (await import('./run-mcp-config.ts')).runMcpConfig(session, invocation)
      case 'completion':
        return (await import('./run-completion.ts')).runCompletion(session, invocation)
      case 'complete':
        return await (await import('./run-completion.ts')).runComplete(session, invocation)
      case 'demo-mqtt':
        return await (await import('./run-demo.ts')).runMqttDemo(session, invocation)
      case 'up':
        return await (await import('./run-own.ts')).runUp(session)
    }
    return invocation satisfies never
  } finally {
    interrupts?.stop()
  }
}

async function runsOperation(session: Session, call: Extract<Invocation, { kind: 'operation' }>): Promise<number> {
  const { terminal } = call.operation.spec.cli ?? {}
  if (terminal === 'attach') return (await import('./run-attach.ts')).runAttach(session, call)
  if (terminal === 'replay') return (await import('./run-replay.ts')).runReplay(session, call)
  return (await import('./run-operation.ts')).runOperation(session, call)
}
