import { Argument, type Command, InvalidArgumentError, Option } from 'commander'
import { didYouMean } from '../../core/suggest.ts'
import { PROFILES, type Profile } from '../mcp/profiles.ts'
import type { Invocation } from './commands.ts'
import { SHELLS, type Shell } from './completion-scripts.ts'
import { completes } from './completion-source.ts'
import { addExamples, addGlobals, addGroup, globalsOf, type Rest, refuseRest } from './grammar.ts'
import { MCP_CLIENTS, type McpClient } from './mcp-clients.ts'

/** The commands that are neither an operation nor a control call. */

/** What the shells call back: hidden from people. */
export const COMPLETE = 'complete'

interface OwnParts {
  readonly rest: Rest
  readonly found: (invocation: Invocation) => void
}

interface OwnCommand {
  readonly name: string
  readonly summary: string
  readonly description?: string
  readonly examples: readonly string[]
}

type Act = (command: Command, argument: string) => void

function own(
  group: Command,
  { name, summary, description = summary, examples }: OwnCommand,
  parts: OwnParts,
  act: Act,
) {
  const command = addGlobals(group.command(name).summary(summary).description(description))
  command.action((argument: string) => {
    refuseRest(command, parts.rest)
    act(command, argument)
  })
  return addExamples(command, () => examples)
}

export function addOwnCommands(program: Command, runs: Command, parts: OwnParts): void {
  addFollow(runs, parts)
  addConfig(program, parts)
  addDoctor(program, parts)
  addMcp(program, parts)
  addUp(program, parts)
  addDemo(program, parts)
  addCompletion(program, parts)
}

function addFollow(runs: Command, parts: OwnParts): void {
  const summary = 'Follow a run: its events and output as they come, to its end'
  const description =
    `${summary}.\nThe output of the run goes to standard output and standard error, its events are notes on ` +
    'standard error. Exits as the run did. Ctrl-C ends the following; the run goes on.'
  const example = 'mahavishnu runs follow 01K5E2W9QZ3V7M4T8N6R1XJYHB'
  const command = own(
    runs,
    { name: 'follow', summary, description, examples: [example, `${example} --jsonl`] },
    parts,
    (self, run_id) => {
      const { jsonl = false } = self.opts<{ jsonl?: boolean }>()
      parts.found({ kind: 'follow', run_id, jsonl, globals: globalsOf(self) })
    },
  )
  command
    .usage('RUN [options]')
    .addArgument(completes(new Argument('<RUN>', 'ULID of the run'), { kind: 'runs' }))
    .addOption(
      new Option(
        '--jsonl',
        'one JSON document a line on standard output: every event, piece of output, and the end',
      ).conflicts('json'),
    )
}

const CONFIG_COMMANDS = [
  ['validate', 'Check settings, inventory and policy'],
  ['show', 'List every setting with its value and the layer it comes from'],
  ['schema', 'Print the JSON Schema of the settings file'],
] as const

function addConfig(program: Command, parts: OwnParts): void {
  const config = addGroup(program, 'config', 'Check and explain the configuration')
  for (const [verb, summary] of CONFIG_COMMANDS) {
    own(config, { name: verb, summary, examples: [`mahavishnu config ${verb}`] }, parts, (command) =>
      parts.found({ kind: 'config', verb, globals: globalsOf(command) }),
    )
  }
  const explain = {
    name: 'explain',
    summary: 'Tell where the value of a setting comes from, and what it overrides',
    examples: ['mahavishnu config explain ssh.max_connections'],
  }
  own(config, explain, parts, (command, key) =>
    parts.found({ kind: 'config', verb: 'explain', key, globals: globalsOf(command) }),
  )
    .usage('KEY [options]')
    .addArgument(completes(new Argument('<KEY>', 'dotted key, such as ssh.max_connections'), { kind: 'settings' }))
}

function addDoctor(program: Command, parts: OwnParts): void {
  const summary = 'Look at this installation and instance, and tell what to do about what is wrong'
  own(program, { name: 'doctor', summary, examples: ['mahavishnu doctor'] }, parts, (command) =>
    parts.found({ kind: 'doctor', globals: globalsOf(command) }),
  )
}

interface McpOptions {
  readonly profile: Profile
  readonly readOnly?: boolean
}

function addMcp(program: Command, parts: OwnParts): void {
  const serve = {
    name: 'mcp',
    summary: 'Serve MCP on standard input and output',
    examples: ['mahavishnu mcp --read-only'],
  }
  const mcp = own(program, serve, parts, (command) => {
    const [stranger] = command.args
    if (stranger !== undefined) {
      throw new InvalidArgumentError(`error: unknown command '${stranger}'${didYouMean(stranger, ['config'])}`)
    }
    const { profile, readOnly = false } = command.opts<McpOptions>()
    parts.found({ kind: 'mcp', profile, readOnly, globals: globalsOf(command) })
  })
  addMcpOptions(mcp.enablePositionalOptions().allowExcessArguments().helpCommand(false).usage('[options]'))
  const config = {
    name: 'config',
    summary: 'Print what an MCP client needs in its configuration',
    description:
      'Print what an MCP client needs in its configuration.\nNothing is written to any file, and the token is only ' +
      'referred to.',
    examples: [
      'mahavishnu mcp config --client claude > .mcp.json',
      'mahavishnu mcp config --client codex --read-only',
      'mahavishnu mcp config --client vscode --http',
    ],
  }
  const command = own(mcp, config, parts, (self) => {
    const {
      client,
      http = false,
      profile,
      readOnly = false,
    } = self.opts<McpOptions & { client: McpClient; http?: boolean }>()
    parts.found({ kind: 'mcp-config', client, http, profile, readOnly, globals: globalsOf(self) })
  })
  command
    .addOption(new Option('--client <NAME>', 'which client').choices(MCP_CLIENTS).makeOptionMandatory())
    .addOption(new Option('--http', 'for an instance that runs (`mahavishnu up`), instead of one the client starts'))
  addMcpOptions(command)
}

function addMcpOptions(command: Command): void {
  command
    .addOption(new Option('--profile <NAME>', 'which tools are offered').choices(PROFILES).default(PROFILES[0]))
    .addOption(new Option('--read-only', 'offer only what changes nothing'))
}

function addUp(program: Command, parts: OwnParts): void {
  const summary = 'Serve the instance over HTTP, and to the commands of this user, until it is told to end'
  const examples = ['mahavishnu up --set http.port=7421']
  own(program, { name: 'up', summary, examples }, parts, (command) =>
    parts.found({ kind: 'up', globals: globalsOf(command) }),
  )
}

const DEMO = { devices: { least: 4, most: 10_000, usual: 100 }, seconds: { least: 5, most: 600, usual: 60 } } as const

function addDemo(program: Command, parts: OwnParts): void {
  const demo = addGroup(program, 'demo', 'Try something out that is not there, such as devices')
  const summary = 'Let simulated devices connect to a broker of the inventory, and work with them'
  const description =
    `${summary}.\nThey measure, take a command, and load new firmware where mqtt.ota.allowed_urls allows it (nothing is ` +
    'really loaded). One of them says no, one is lost, one fails. It starts no broker, and leaves nothing but the last ' +
    'words of its devices, demo-0001 and so on, at the broker.'
  const examples = ['mahavishnu demo mqtt site-1 --devices 20 --seconds 20']
  const command = own(demo, { name: 'mqtt', summary, description, examples }, parts, (self, target) => {
    const { devices, seconds } = self.opts<{ devices: number; seconds: number }>()
    parts.found({ kind: 'demo-mqtt', target, devices, seconds, globals: globalsOf(self) })
  })
  const { devices, seconds } = DEMO
  command
    .usage('TARGET [options]')
    .addArgument(
      completes(new Argument('<TARGET>', 'name of a target in the inventory'), { kind: 'targets', worker: 'mqtt' }),
    )
    .addOption(
      new Option('--devices <NUMBER>', `how many, from ${devices.least} to ${devices.most}`)
        .argParser(within(devices))
        .default(devices.usual),
    )
    .addOption(
      new Option('--seconds <NUMBER>', `longest time of each step, from ${seconds.least} to ${seconds.most}`)
        .argParser(within(seconds))
        .default(seconds.usual),
    )
}

function within({ least, most }: { readonly least: number; readonly most: number }): (text: string) => number {
  return (text) => {
    const number = Number(text)
    if (/^\d+$/.test(text) && number >= least && number <= most) return number
    throw new InvalidArgumentError(`it must be a whole number from ${least} to ${most}`)
  }
}

function addCompletion(program: Command, parts: OwnParts): void {
  const script = {
    name: 'completion',
    summary: 'Print the completion script of a shell',
    description:
      'Print the completion script of a shell.\nBeside commands and options it completes the names of targets, runs ' +
      'and settings as they are at that moment.',
    examples: [
      'eval "$(mahavishnu completion bash)"',
      'eval "$(mahavishnu completion zsh)"',
      'mahavishnu completion fish | source',
    ],
  }
  own(program, script, parts, (command, shell) =>
    parts.found({ kind: 'completion', shell: shell as Shell, globals: globalsOf(command) }),
  )
    .usage('SHELL [options]')
    .addArgument(new Argument('<SHELL>', 'the shell').choices(SHELLS))
  const summary = 'Print what may stand at the end of a command line, for completion scripts'
  const command = addGlobals(program.command(COMPLETE, { hidden: true }).summary(summary).description(summary))
  addExamples(command, () => ['mahavishnu complete -- runs sh'])
    .usage('-- WORDS')
    .action(() => parts.found({ kind: 'complete', program, words: parts.rest ?? [], globals: globalsOf(command) }))
}
