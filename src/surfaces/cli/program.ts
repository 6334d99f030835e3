import { Argument, Command, InvalidArgumentError, Option } from 'commander'
import type { RegisteredOperation, Registry } from '../../core/registry.ts'
import { CONTROL_CALLS, type ControlCall } from '../../runtime/control.ts'
import { controlSchemas, envelopeFields, operationSchemas, splitCall } from '../json-schema.ts'
import { PROFILES, type Profile } from '../mcp/profiles.ts'
import { flagOf, nameTable, operationName } from '../names.ts'
import type { GlobalOptions, Invocation } from './commands.ts'
import { controlExampleLine, exampleLine } from './example-line.ts'
import { type Field, fieldsOf, optionOf, readPair } from './fields.ts'
import { commandOf } from './quote.ts'

export const PROGRAM = 'mahavishnu'

const GROUPS = { input: 'Options:', call: 'Options of every call:', global: 'Options everywhere:' } as const

export interface ProgramParts {
  readonly registry: Registry
  readonly version: string
  /** The words after `--`; null where there is no `--`. */
  readonly rest: readonly string[] | null
  /** Told what the command line asks for. */
  readonly found: (invocation: Invocation) => void
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
    addControl(group, control, parts)
  }
  addOwnCommands(program, parts)
  return program
}

/** What the nouns of the control calls are about. */
const NOUNS: Readonly<Record<string, string>> & { readonly runs: string } = {
  runs: 'Look at runs, wait for them, cancel them, explain them',
  workers: 'Look at workers, their operations, targets and health',
  breakers: 'Look at circuit breakers, hold them open or closed',
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

function addGroup(program: Command, noun: string, summary: string, description = summary): Command {
  return addGlobals(
    program
      .command(noun)
      .summary(summary)
      .description(description)
      .usage('COMMAND [options]')
      .enablePositionalOptions(),
  ).helpCommand(false)
}

/** They stand on every command, so that they may be written before and after it. */
function addGlobals(command: Command): Command {
  const options = [
    new Option('--folder <FOLDER>', 'instance folder (default: MAHAVISHNU_HOME, else the XDG data folder)'),
    new Option('--set <KEY=VALUE>', 'a setting, over all files and variables (may be repeated)').argParser<unknown>(
      (text, before) => ({ ...(before as Record<string, string> | undefined), ...readPair(text) }),
    ),
    new Option('--json', 'exactly one JSON document on standard output'),
    new Option('-q, --quiet', 'no notes and no progress on standard error'),
  ]
  for (const option of options) command.addOption(option.helpGroup(GROUPS.global))
  return command.addHelpOption(new Option('-h, --help', 'print help').helpGroup(GROUPS.global))
}

function globalsOf(command: Command): GlobalOptions {
  const levels: Command[] = []
  for (let level: Command | null = command; level !== null; level = level.parent) levels.unshift(level)
  const given = levels.map((level) =>
    level.opts<{ folder?: string; set?: Record<string, string>; json?: true; quiet?: true }>(),
  )
  const folder = given.findLast((each) => each.folder !== undefined)?.folder
  const set = Object.assign({}, ...given.map((each) => each.set)) as Record<string, string>
  return {
    place: { ...(folder === undefined ? {} : { folder }), set },
    json: given.some((each) => each.json === true),
    quiet: given.some((each) => each.quiet === true),
  }
}

function addOperation(group: Command, operation: RegisteredOperation, { rest, found }: ProgramParts): void {
  const { spec } = operation
  const targeted = spec.targeted !== false
  const hints = spec.cli ?? {}
  const command = group.command(operationName(operation).cli[1]).summary(spec.summary)
  const words = hints.rest === undefined ? '' : ` [-- ${hints.rest.toUpperCase()}]`
  command.usage(`${targeted ? 'TARGET ' : ''}[options]${words}`).description(descriptionOf(operation))
  if (targeted) command.addArgument(new Argument('<TARGET>', 'name of a target in the inventory'))

  const envelope: readonly string[] = envelopeFields(operation)
  const fields = fieldsOf(operationSchemas(operation).input)
    .filter(({ name }) => name !== 'target' && !(name === hints.stdin && name === 'stdin'))
    .map((field) => inCommandLineTerms(field, hints))
  const options = addFields(command, fields, ({ name }) => (envelope.includes(name) ? GROUPS.call : GROUPS.input))
  if (hints.stdin !== undefined) {
    command.addOption(new Option('--stdin', `take "${hints.stdin}" from standard input`).helpGroup(GROUPS.input))
  }
  addGlobals(command).addHelpText('after', () =>
    helpExamples(spec.examples.map((example) => exampleLine(operation, example))),
  )

  command.action((...args: unknown[]) => {
    const flat = givenValues(command, options)
    if (rest !== null) takeRest(command, flat, hints.rest, rest)
    const stdin = command.opts<{ stdin?: boolean }>().stdin === true ? (hints.stdin ?? null) : null
    const { input, envelope: given } = splitCall(flat)
    const target = targeted ? { target: args[0] } : {}
    found({
      kind: 'operation',
      operation,
      input,
      envelope: { ...target, ...given },
      stdin,
      globals: globalsOf(command),
    })
  })
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

function addControl(group: Command, control: ControlCall, { rest, found }: ProgramParts): void {
  const command = group.command(control.cli[1]).summary(control.summary).description(control.summary)
  const fields = fieldsOf(controlSchemas(control).input)
  const argument = fields.find(({ name }) => name === control.argument)
  if (argument !== undefined) {
    const name = argument.name.replace(/_id$/, '').toUpperCase()
    command.addArgument(new Argument(argument.required ? `<${name}>` : `[${name}]`, argument.description))
    command.usage(`${argument.required ? name : `[${name}]`} [options]`)
  }
  const others = fields.filter((field) => field !== argument)
  const options = addFields(command, others, () => GROUPS.input)
  addGlobals(command).addHelpText('after', () => helpExamples([controlExampleLine(control)]))
  command.action((...args: unknown[]) => {
    refuseRest(command, rest)
    const given = argument === undefined || args[0] === undefined ? {} : { [argument.name]: args[0] }
    const input = { ...given, ...givenValues(command, options) }
    found({ kind: 'control', control, input, globals: globalsOf(command) })
  })
}

function addOwnCommands(program: Command, { rest, found }: ProgramParts): void {
  const own = (group: Command, name: string, summary: string, act: (command: Command, key: string) => void) => {
    const command = addGlobals(group.command(name).summary(summary).description(summary))
    command.action((key: string) => {
      refuseRest(command, rest)
      act(command, key)
    })
    return command
  }
  const config = addGroup(program, 'config', 'Check and explain the configuration')
  for (const [verb, summary] of CONFIG_COMMANDS) {
    own(config, verb, summary, (command) => found({ kind: 'config', verb, globals: globalsOf(command) }))
  }
  own(config, 'explain', 'Tell where the value of a setting comes from, and what it overrides', (command, key) =>
    found({ kind: 'config', verb: 'explain', key, globals: globalsOf(command) }),
  )
    .usage('KEY [options]')
    .addArgument(new Argument('<KEY>', 'dotted key, such as ssh.max_connections'))
  own(program, 'doctor', 'Look at this installation and instance, and tell what to do about what is wrong', (command) =>
    found({ kind: 'doctor', globals: globalsOf(command) }),
  )
  own(program, 'mcp', 'Serve MCP on standard input and output', (command) => {
    const { profile, readOnly = false } = command.opts<{ profile: Profile; readOnly?: boolean }>()
    found({ kind: 'mcp', profile, readOnly, globals: globalsOf(command) })
  })
    .addOption(new Option('--profile <NAME>', 'which tools are offered').choices(PROFILES).default(PROFILES[0]))
    .addOption(new Option('--read-only', 'offer only what changes nothing'))
  own(
    program,
    'up',
    'Serve the instance over HTTP, and to the commands of this user, until it is told to end',
    (command) => found({ kind: 'up', globals: globalsOf(command) }),
  )
}

const CONFIG_COMMANDS = [
  ['validate', 'Check settings, inventory and policy'],
  ['show', 'List every setting with its value and the layer it comes from'],
  ['schema', 'Print the JSON Schema of the settings file'],
] as const

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

function refuseRest(command: Command, rest: readonly string[] | null): void {
  if (rest !== null) throw noWords(command)
}

function noWords(command: Command): InvalidArgumentError {
  return new InvalidArgumentError(`error: '${command.name()}' takes no words after --`)
}

function descriptionOf({ spec }: RegisteredOperation): string {
  return spec.description === undefined ? spec.summary : `${spec.summary}\n${spec.description}`
}

function helpExamples(lines: readonly string[]): string {
  return ['', 'Examples:', ...lines.map((line) => `  ${line}`)].join('\n')
}
