import { Argument, Command, InvalidArgumentError, Option } from 'commander'
import { type Effect, mayHaveTarget } from '../../core/operation.ts'
import type { RegisteredOperation, Registry } from '../../core/registry.ts'
import { CONTROL_CALLS, type ControlCall } from '../../runtime/control.ts'
import { controlSchemas, envelopeFields, fieldSchema, operationSchemas, splitCall } from '../json-schema.ts'
import { flagOf, nameTable, operationName } from '../names.ts'
import type { Invocation, TerminalOptions } from './commands.ts'
import { completes, sourceOfField } from './completion-source.ts'
import { controlExampleLine, exampleLine } from './example-line.ts'
import { type Field, fieldsOf, optionOf } from './fields.ts'
import { addExamples, addGlobals, addGroup, GROUPS, globalsOf, noWords, type Rest, refuseRest } from './grammar.ts'
import { addOwnCommands } from './own-commands.ts'
import { commandOf } from './quote.ts'
import { addTerminalOptions } from './terminal-options.ts'

export const PROGRAM = 'mahavishnu'

export interface ProgramParts {
  readonly registry: Registry
  readonly version: string
  readonly rest: Rest
  /** Told what the command line asks for. */
  readonly found: (invocation: Invocation) => void
  /**
   * Every word of the command line, those after `--` included. A derived command that none of them names is given no
   * options, for it is at most listed by the help of its group; and no arguments either where its group is not named.
   * They come from JSON Schemas, and those of all calls are much of what a start costs. Left away, all commands are whole.
   */
  readonly line?: ReadonlySet<string>
}

/** The grammar of the command line, derived from the declarations. Nothing is done here. */
export function buildProgram(parts: ProgramParts): Command {
  nameTable(parts.registry)
  const program = new Command(PROGRAM)
    .description('Runs operations on named targets: bounded, authorised, journaled and explainable.')
    .usage('COMMAND [options]')
    .optionsGroup(GROUPS.global)
    .version(parts.version, '-V, --version', 'print the version')
    .helpCommand('help [command]', 'print help of a command')
    .configureHelp({ subcommandTerm })
    .enablePositionalOptions()
    .exitOverride()
  addGlobals(program)
  for (const worker of parts.registry.workers) {
    const group = addGroup(program, operationNoun(parts.registry, worker.name), worker.title, worker.description)
    for (const operation of parts.registry.operations.filter((each) => each.worker === worker)) {
      addOperation(group, operation, parts)
    }
  }
  const groups = new Map<string, Command>()
  for (const control of CONTROL_CALLS) {
    const [noun] = control.cli
    const group = groups.get(noun) ?? addGroup(program, noun, NOUNS[noun] ?? noun)
    groups.set(noun, group)
    addControl(group, control, parts, control.cli)
    if (control.shortcut !== undefined) addControl(program, control, parts, [control.shortcut])
  }
  addOwnCommands(program, groups.get('runs') ?? addGroup(program, 'runs', NOUNS.runs), parts)
  return program
}

/** What the nouns of the control calls are about. */
const NOUNS: Readonly<Record<string, string>> & { readonly runs: string } = {
  runs: 'Look at runs, follow them, wait for them, cancel them, explain them',
  workers: 'Look at workers, their operations, targets and health',
  breakers: 'Look at circuit breakers, hold them open or closed',
  batches: 'Run one operation on many targets: plan it, run it, watch it, stop it, run the failed again',
  dlq: 'Look at dead letters, replay them, put them away',
}

/** The command and what it is called with; that it has options goes without saying. */
function subcommandTerm(command: Command): string {
  const words = command.registeredArguments.map((each) => (each.required ? each.name() : `[${each.name()}]`))
  return [command.name(), ...words].join(' ')
}

function operationNoun(registry: Registry, worker: string): string {
  const operation = registry.operations.find((each) => each.worker.name === worker)
  return operation === undefined ? worker : operationName(operation).cli[0]
}

/** Whether a command may be the one that is asked for, or asked about; the program itself always may. */
function isNamed(command: Command, { line }: ProgramParts): boolean {
  return line === undefined || command.parent === null || line.has(command.name())
}

function addOperation(group: Command, operation: RegisteredOperation, parts: ProgramParts): void {
  const { rest, found } = parts
  const { spec } = operation
  const hints = spec.cli ?? {}
  const command = group.command(operationName(operation).cli[1]).summary(spec.summary)
  if (!isNamed(group, parts)) return

  const argument = argumentOf(operation)
  const words = hints.rest === undefined ? '' : ` [-- ${hints.rest.toUpperCase()}]`
  command.usage(`${argument === undefined ? '' : `${argument.word} `}[options]${words}`)
  command.description(descriptionOf(operation))
  if (argument !== undefined) command.addArgument(argument.shown)
  if (!isNamed(command, parts)) return

  const envelope: readonly string[] = envelopeFields(operation)
  const fields = fieldsOf(operationSchemas(operation).input)
    .filter(({ name }) => name !== 'target' && name !== hints.argument && !(name === hints.stdin && name === 'stdin'))
    .map((field) => inCommandLineTerms(field, hints))
  const options = addFields(command, fields, ({ name }) => (envelope.includes(name) ? GROUPS.call : GROUPS.input))
  if (hints.stdin !== undefined) {
    command.addOption(new Option('--stdin', `take "${hints.stdin}" from standard input`).helpGroup(GROUPS.input))
  }
  addConfirmation(command, spec.effect)
  addTerminalOptions(command, hints.terminal)
  addExamples(addGlobals(command), () => spec.examples.map((example) => exampleLine(operation, example)))

  command.action((...args: unknown[]) => {
    const flat = givenValues(command, options)
    if (rest !== null) takeRest(command, flat, hints.rest, rest)
    const stdin = command.opts<{ stdin?: boolean }>().stdin === true ? (hints.stdin ?? null) : null
    const { input, envelope: given } = splitCall(flat)
    const value = argument === undefined || args[0] === undefined ? {} : { [argument.field]: args[0] }
    found({
      kind: 'operation',
      operation,
      input: hints.argument === undefined ? input : { ...value, ...input },
      envelope: hints.argument === undefined ? { ...value, ...given } : given,
      stdin,
      confirmed: isConfirmed(command),
      ...(hints.terminal === undefined ? {} : { terminal: command.opts<TerminalOptions>() }),
      globals: globalsOf(command),
    })
  })
}

/** What stands right after the words of a command: its target, or the field that it is about. */
interface CommandArgument {
  readonly field: string
  readonly word: string
  readonly shown: Argument
}

function argumentOf(operation: RegisteredOperation): CommandArgument | undefined {
  const { spec, worker } = operation
  const field = mayHaveTarget(spec) ? 'target' : spec.cli?.argument
  if (field === undefined) return undefined
  const name = field.toUpperCase()
  const [found] = fieldsOf(fieldSchema(operation, field))
  const [term, word] = found?.required === true ? [`<${name}>`, name] : [`[${name}]`, `[${name}]`]
  const shown = new Argument(term, found?.description)
  // What nobody knows without asking the worker has no values to offer.
  const source = sourceOfField(field) ?? { kind: 'words', words: [] }
  if (field !== 'target') return { field, word, shown: completes(shown, source) }
  shown.description = 'name of a target in the inventory'
  return { field, word, shown: completes(shown, { kind: 'targets', worker: worker.name }) }
}

/** Over the command line a field may be given in another way as well, and the run lives in the process that waits. */
function inCommandLineTerms(field: Field, hints: { readonly rest?: string; readonly stdin?: string }): Field {
  if (field.name === 'wait') {
    const description = 'seconds after which the id of a run that goes on is told; the command stays until it has ended'
    return { ...field, description }
  }
  const other =
    field.name === hints.rest ? 'or the words after --' : field.name === hints.stdin ? 'or --stdin' : undefined
  return other === undefined ? field : { ...field, required: false, description: `${field.description}, ${other}` }
}

/** `words` are those after the program's name, the last of which is the name of the command in its group. */
function addControl(group: Command, control: ControlCall, parts: ProgramParts, words: readonly string[]): void {
  const { rest, found } = parts
  const same = words === control.cli ? '' : `\nThe same as \`${PROGRAM} ${control.cli.join(' ')}\`.`
  const command = group
    .command(words.at(-1) ?? '')
    .summary(control.summary)
    .description(control.summary + same)
  if (!isNamed(group, parts)) return

  const [argument] = control.argument === undefined ? [] : fieldsOf(fieldSchema(control, control.argument))
  if (argument !== undefined) {
    const name = argument.name.replace(/_id$/, '').toUpperCase()
    const source = sourceOfField(argument.name)
    const shown = new Argument(argument.required ? `<${name}>` : `[${name}]`, argument.description)
    command.addArgument(source === undefined ? shown : completes(shown, source))
    command.usage(`${argument.required ? name : `[${name}]`} [options]`)
  }
  if (!isNamed(command, parts)) return

  const others = fieldsOf(controlSchemas(control).input).filter(({ name }) => name !== control.argument)
  const options = addFields(command, others, () => GROUPS.input)
  for (const [{ name }, option] of options) {
    const source = sourceOfField(name)
    if (source !== undefined) completes(option, source)
  }
  addConfirmation(command, control.effect)
  addExamples(addGlobals(command), () => [controlExampleLine(control, words)])
  command.action((...args: unknown[]) => {
    refuseRest(command, rest)
    const given = argument === undefined || args[0] === undefined ? {} : { [argument.name]: args[0] }
    const input = { ...given, ...givenValues(command, options) }
    found({ kind: 'control', control, input, confirmed: isConfirmed(command), globals: globalsOf(command) })
  })
}

/** Only what may destroy has the option: whether this input does is asked when it is known. */
function addConfirmation(command: Command, effect: Effect): void {
  if (effect !== 'destroy') return
  const text = 'do not ask before something is destroyed; needed where there is no terminal'
  command.addOption(new Option('--yes', text).helpGroup(GROUPS.call))
}

function isConfirmed(command: Command): boolean {
  return command.opts<{ yes?: boolean }>().yes === true
}

type FieldOption = readonly [Field, Option]

function addFields(
  command: Command,
  fields: readonly Field[],
  headingOf: (field: Field) => string,
): readonly FieldOption[] {
  return fields.map((field) => {
    const option = optionOf(field, headingOf(field))
    command.addOption(option)
    return [field, option]
  })
}

/** Only what was written on the command line: defaults are the schema's. */
function givenValues(command: Command, options: readonly FieldOption[]): Record<string, unknown> {
  const given = options.filter(([, option]) => command.getOptionValueSource(option.attributeName()) === 'cli')
  return Object.fromEntries(
    given.map(([field, option]) => [field.name, command.getOptionValue(option.attributeName())]),
  )
}

function takeRest(
  command: Command,
  flat: Record<string, unknown>,
  field: string | undefined,
  rest: readonly string[],
): void {
  if (field === undefined) throw noWords(command)
  if (rest.length === 0) throw new InvalidArgumentError(`error: there are no words after --`)
  if (flat[field] !== undefined) {
    throw new InvalidArgumentError(`error: "${field}" is given twice: by ${flagOf(field)} and after --`)
  }
  flat[field] = commandOf(rest)
}

function descriptionOf({ spec }: RegisteredOperation): string {
  return spec.description === undefined ? spec.summary : `${spec.summary}\n${spec.description}`
}
