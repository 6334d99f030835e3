import assert from 'node:assert/strict'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Command } from 'commander'
import { parse, stringify } from 'yaml'
import { createRegistry } from '../../src/core/registry.ts'
import type { WorkerResult } from '../../src/core/result.ts'
import { completionAt } from '../../src/surfaces/cli/completion.ts'
import { sourceOf } from '../../src/surfaces/cli/completion-source.ts'
import { type Action, actionsOf, examplesOf, isShown } from '../../src/surfaces/cli/grammar.ts'
import { buildProgram } from '../../src/surfaces/cli/program.ts'
import { operationName } from '../../src/surfaces/names.ts'
import { workers } from '../../src/workers/index.ts'
import { type CliCommand, cliCommand, inShell, shellMissing } from '../helpers/cli-command.ts'
import { runHere, surfaceApp, surfaceComposition } from '../helpers/mcp-cli-fixture.ts'
import { type Mosquitto, mosquittoMissing, startMosquitto } from '../helpers/mosquitto.ts'
import { brokerTarget, message, never, startMqttWorker } from '../helpers/mqtt-context.ts'
import { sshInstance } from '../helpers/ssh-instance.ts'
import { makeUser, type SystemUser, userMissing } from '../helpers/ssh-user.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

/** The dead letter of the examples. */
const LETTER = '01K5E2W9QZ3V7M4T8N6R1XJYHC'
/** The batch of the examples. */
const BATCH = '01K5E2W9QZ3V7M4T8N6R1XJYHD'

const registry = createRegistry(workers)
const newProgram = () => buildProgram({ registry, version: '', rest: null, found: () => undefined })
const program = newProgram()
const actions = actionsOf(program)
const app = surfaceApp({ ...surfaceComposition(), registry })

/** What a command lacks of what every command has. */
async function lacks({ words, command }: Action, root: Command): Promise<readonly string[]> {
  const path = words.slice(1)
  const offered = (...typed: string[]) => completionAt(root, typed).candidates.map(({ value }) => value)
  const named =
    command.parent !== null && isShown(command) && !offered(...path.slice(0, -1), '').includes(command.name())
  const options = command.createHelp().visibleOptions(command)
  const missing = options.filter(({ long }) => !offered(...path, '-').includes(long ?? ''))
  const examples = examplesOf(command)
  return [
    ...(command.summary() === '' ? ['summary'] : []),
    ...(command.description() === '' ? ['description'] : []),
    ...(examples.length === 0 ? ['example'] : []),
    ...examples.filter((line) => !line.includes(words.join(' '))).map((line) => `example of its own: ${line}`),
    ...(named ? ['completion of its name'] : []),
    ...missing.map(({ flags }) => `completion of ${flags}`),
    ...command.registeredArguments.filter((each) => sourceOf(each) === null).map((each) => `values of ${each.name()}`),
    ...options.filter(({ description }) => description === '').map(({ flags }) => `description of ${flags}`),
  ]
}

describe('CLI-02: every command', () => {
  test('is found by the walk: operations, control calls, and the program’s own', () => {
    const found = actions.map(({ words }) => words.slice(1).join(' '))
    const some = [
      'ssh execute',
      'runs cancel',
      'runs follow',
      'explain',
      'config explain',
      'mcp',
      'mcp config',
      'up',
      'complete',
    ]
    assert.deepEqual(
      some.filter((name) => !found.includes(name)),
      [],
    )
    assert.equal(new Set(found).size, found.length)
  })

  for (const action of actions) {
    const name = action.words.slice(1).join(' ')
    test(`${name} has help, an example and completion`, async () => {
      assert.deepEqual(await lacks(action, program), [])
      const { code, stdout } = await runHere([...action.words.slice(1), '--help'], { app })
      assert.equal(code, 0)
      // A command line makes only the commands that it names: the same as where all are made.
      assert.ok(stdout.startsWith(action.command.helpInformation()), stdout)
      for (const line of examplesOf(action.command)) assert.ok(stdout.includes(`\n  ${line}\n`), line)
    })
  }

  test('shows its help without colours or other escape sequences on a terminal, whatever NO_COLOR says', async () => {
    for (const { words } of actions) {
      const { stdout } = await runHere([...words.slice(1), '--help'], { app, columns: 100 })
      assert.doesNotMatch(stdout, /\x1b/, words.join(' '))
    }
  })

  test('negative control: a command without one of these is found', async () => {
    const planted = newProgram()
    planted.command('bare').argument('<THING>').option('--odd')
    const bare = actionsOf(planted).find(({ words }) => words[1] === 'bare')
    assert.ok(bare !== undefined)
    assert.deepEqual(await lacks(bare, planted), [
      'summary',
      'description',
      'example',
      'values of THING',
      'description of --odd',
    ])
  })
})

/** What a device of the examples has said, and the broker keeps. */
async function keepStatus(broker: Mosquitto): Promise<void> {
  await using worker = await startMqttWorker()
  const session = worker.session(brokerTarget(broker))
  await session.ready(never)
  await session.publishNow({ ...message('mahavishnu/status/pump-7', '{"state":"ready"}'), retain: true }, never)
}
/** What is answered where the host has not what an example speaks of, or does not let its user have it. */
const NOT_THERE =
  /^MHV_(SSH_(SUDO_\w+|CWD_FAILED|SFTP_NOT_FOUND|SFTP_PERMISSION|TRANSFER_(SOURCE|TARGET)|TRUST_REFUSED)|TERMINAL_(\w+_)?UNKNOWN|TERMINAL_NOT_STARTED|MQTT_RESPONSE_TIMEOUT|MQTT_OTA_STOPPED)$/

describe('CLI-02: every example does what it says', {
  skip: userMissing() ?? sshdMissing() ?? mosquittoMissing(),
}, () => {
  let sshd: Sshd
  let broker: Mosquitto
  let guest: SystemUser
  let folder: string
  let command: CliCommand
  /** A run that ended well, for the examples; and the newest one. */
  let run_id: string
  let last: string
  let letters = 0

  before(async () => {
    sshd = await startSshd()
    // What an example says is really done: by a user who can do no harm, for the host is this machine.
    guest = await makeUser()
    const ota = { allowed_urls: ['https://firmware.example.org/'] }
    folder = await sshInstance(sshd, { target: { user: guest.name }, settings: { mqtt: { ota } } })
    await mkdir(join(folder, 'files', 'reports'), { recursive: true })
    for (const name of ['app.conf', 'reports/march.csv']) await writeFile(join(folder, 'files', name), 'x\n')
    broker = await startMosquitto({ config: ['sys_interval 1'] })
    await keepStatus(broker)
    // The examples speak of `web-1` and `site-1`.
    const file = join(folder, 'settings', 'inventory.yaml')
    const inventory = parse(await readFile(file, 'utf8')) as { targets: Record<string, unknown> }
    const targets = {
      'web-1': inventory.targets.box,
      'site-1': { tier: 'dev', mqtt: { brokers: [{ url: broker.url }] } },
    }
    await writeFile(file, stringify({ ...inventory, targets }))
    // The PTY host of the session that an example starts is gone soon after it.
    const own = join(folder, 'settings', 'mahavishnu.yaml')
    const settings = parse(await readFile(own, 'utf8')) as object
    await writeFile(own, stringify({ ...settings, terminal: { host_idle_timeout: 1 } }))
    const schedule = { operation: 'ssh.execute', target: 'web-1', input: { command: 'true' }, cron: '@daily' }
    const schedules = { 'nightly-report': schedule }
    await writeFile(join(folder, 'settings', 'schedules.yaml'), stringify({ version: 1, schedules }))
    command = await cliCommand()
    await here('ssh', 'execute', 'web-1', '--quiet', '--', 'true')
    run_id = (await latest()).run_id
    last = run_id
  })
  after(async () => {
    const { sessions } = JSON.parse((await here('terminal', 'list', '--json')).stdout).data as {
      sessions: readonly { readonly session: string }[]
    }
    for (const { session } of sessions) await here('terminal', 'close', session)
    await command.remove()
    await rm(folder, { recursive: true, force: true })
    await sshd.stop()
    await broker.stop()
    await guest.remove()
  })

  /** Runs a line as it stands in the help, but for the names of what differs from one instance to the next. */
  async function type(line: string) {
    const letter = line.includes(LETTER) ? await newLetter() : LETTER
    const batch = line.includes(BATCH) ? await newBatch(line.includes('rerun')) : BATCH
    const typed = line
      .replaceAll(BATCH, batch)
      .replaceAll('01K5E2W9QZ3V7M4T8N6R1XJYHB', run_id)
      .replaceAll(LETTER, letter)
      .replace(/http\.port=\d+/, 'http.port=0')
    const shell = /completion (zsh|fish)/.exec(line)?.[1] ?? 'bash'
    const env = { MAHAVISHNU_HOME: folder, HOME: folder, WEB_SUDO_PASSWORD: 'not the password' }
    return inShell(shell, typed, { command, env, cwd: folder, started: / up\b/.test(line) ? stopWhenUp : () => {} })
  }

  /** The dead letter of a run that failed without an effect, and would go well now. */
  async function newLetter(): Promise<string> {
    const cwd = join(guest.home, `later-${letters++}`)
    await here('ssh', 'execute', 'web-1', '--quiet', '--cwd', cwd, '--', 'true')
    const { metadata, ...run } = await latest()
    await mkdir(cwd)
    last = run.run_id
    return metadata.dead_letter ?? assert.fail(`a run without a dead letter: ${run.error_code}`)
  }

  /** A batch that has ended: well, or with a target that failed and would go well now. */
  async function newBatch(failed: boolean): Promise<string> {
    const file = join(guest.home, `later-${letters++}`)
    const input = JSON.stringify({ command: failed ? `test -e ${file} || { touch ${file}; false; }` : 'true' })
    const { stdout } = await here(
      'batches',
      'run',
      'ssh.execute',
      '--select',
      'web-1',
      '--input',
      input,
      '--yes',
      '--json',
    )
    return (JSON.parse(stdout) as { batch: { batch_id: string } }).batch.batch_id
  }

  /** What examples need, and what they are judged by, is done in this process. */
  const here = (...args: string[]) => runHere(['--folder', folder, ...args], { app })

  function stopWhenUp(pid: number, stderr: () => string): void {
    const timer = setInterval(() => {
      if (!stderr().includes('the token is in')) return
      clearInterval(timer)
      process.kill(-pid, 'SIGTERM')
    }, 50)
  }

  /** The newest run. */
  async function latest(): Promise<Omit<WorkerResult, 'data' | 'output'>> {
    const { stdout } = await here('runs', 'list', '--limit', '1', '--json')
    return (JSON.parse(stdout) as { runs: [WorkerResult] }).runs[0]
  }

  for (const { words, command: each } of actions) {
    for (const line of examplesOf(each)) {
      const shell = /completion (zsh|fish)/.exec(line)?.[1]
      const operation = registry.operations.find((one) => operationName(one).cli.join(' ') === words.slice(1).join(' '))
      test(line, { skip: shell === undefined ? false : shellMissing(shell), timeout: 60_000 }, async () => {
        // There is nobody to ask here.
        const asks = operation?.spec.effect === 'destroy'
        const ran = await type(asks ? line.replace(words.join(' '), `${words.join(' ')} --yes`) : line)
        // Nothing here is a terminal; test/e2e/terminal-cli.test.ts has one.
        if (operation?.spec.cli?.terminal === 'attach' && !line.includes('--read-only')) {
          return assert.match(ran.stderr, /MHV_CLI_USAGE.*no terminal/)
        }
        // The other examples need the target.
        if (line.includes('breakers force')) await type(line.replace('--state open', '--state auto'))
        assert.doesNotMatch(ran.stderr, /MHV_(CLI|INPUT|INTERNAL|CONFIG|TARGET)/)
        if (operation === undefined) return assert.equal(ran.code, 0, ran.stderr)
        const run = await latest()
        assert.notEqual(run.run_id, last)
        assert.equal(run.operation, operation.id)
        // It has been asked; that the host of the tests has no `/srv/app`, no such key, service or session is its own
        // affair: the tests of these operations have them.
        if (run.error_code !== null) assert.match(run.error_code, NOT_THERE)
        last = run.run_id
      })
    }
  }
})
