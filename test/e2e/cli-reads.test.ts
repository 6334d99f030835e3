import assert from 'node:assert/strict'
import { symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { createDoctor } from '../../src/app/doctor.ts'
import { EXIT } from '../../src/core/error-table.ts'
import type { Instance } from '../../src/runtime/instance.ts'
import type { CliApp } from '../../src/surfaces/cli/commands.ts'
import { runWithEventsText } from '../../src/surfaces/cli/show.ts'
import {
  type RunOptions,
  runHere,
  runProgram,
  surfaceApp,
  surfaceComposition,
  surfaceFolder,
} from '../helpers/mcp-cli-fixture.ts'

let folder: Awaited<ReturnType<typeof surfaceFolder>>
const app = surfaceApp()
const run = (args: readonly string[], more: RunOptions = {}) =>
  runHere([...args, '--folder', folder.path], { app, ...more })
const ids: string[] = []

/** The same program, and a promise of the moment at which it has asked an instance for something. */
function watchedApp(): { readonly app: CliApp; readonly asked: Promise<void> } {
  const { promise: asked, resolve } = Promise.withResolvers<void>()
  const watch =
    <O>(find: (options: O) => Promise<Instance>) =>
    async (options: O): Promise<Instance> => {
      const instance = await find(options)
      return {
        ...instance,
        control(request) {
          const answer = instance.control(request)
          resolve()
          return answer
        },
      }
    }
  const { instances } = app
  return {
    app: { ...app, instances: { ...instances, read: watch(instances.read), look: watch(instances.look) } },
    asked,
  }
}

before(async () => {
  folder = await surfaceFolder()
  for (const args of [
    ['probe', 'touch', 'one', '--value', 'a'],
    ['probe', 'fail', 'two', '--code', 'MHV_SSH_AUTH_FAILED'],
    ['local', 'execute', 'here', '--command', 'echo out; echo err >&2; exit 3', '--reason', 'to see'],
  ]) {
    const { stdout } = await run([...args, '--json'])
    ids.push(JSON.parse(stdout).run_id)
  }
})
after(() => folder.remove())

describe('runs list', () => {
  test('is a table, newest first, with whole ids', async () => {
    const { code, stdout } = await run(['runs', 'list'])
    const [head = '', ...rows] = stdout.trimEnd().split('\n')
    assert.equal(code, 0)
    assert.match(head, /^RUN +AGE +STATUS +OPERATION +TARGET +END$/)
    assert.deepEqual(
      rows.map((row) => row.split('  ')[0]),
      ids.toReversed(),
    )
    assert.match(rows[0] ?? '', / \d+s +completed {2}local\.execute {2}here +exit code 3$/)
    assert.match(rows[1] ?? '', / MHV_SSH_AUTH_FAILED$/)
  })

  test('fits the terminal and cuts no id', async () => {
    const { stdout } = await run(['runs', 'list'], { columns: 80 })
    const lines = stdout.trimEnd().split('\n')
    for (const line of lines) assert.ok([...line].length <= 80, line)
    for (const id of ids) assert.ok(stdout.includes(id))
  })

  test('has no colour and no escape sequence, on a terminal either', async () => {
    for (const columns of [undefined, 100]) {
      assert.doesNotMatch((await run(['runs', 'list'], columns === undefined ? {} : { columns })).stdout, /\x1b/)
    }
  })

  test('chooses', async () => {
    const of = async (...args: string[]) =>
      JSON.parse((await run(['runs', 'list', '--json', ...args])).stdout).runs.length
    assert.equal(await of('--status', 'failed'), 1)
    assert.equal(await of('--worker', 'probe'), 2)
    assert.equal(await of('--on', 'here'), 1)
    assert.equal(await of('--limit', '1'), 1)
    assert.equal(await of('--since', '2999-01-01T00:00:00Z'), 0)
    const { code, stderr } = await run(['runs', 'list', '--status', 'fialed'])
    assert.equal(code, EXIT.input)
    assert.match(stderr, /error MHV_INPUT_INVALID: status: /)
  })
})

describe('runs show, wait, output, cancel', () => {
  test('show has the facts, the events and the output', async () => {
    const { code, stdout } = await run(['runs', 'show', ids[2] ?? ''])
    assert.equal(code, 0)
    for (const line of [/^run +01/, /^operation +local\.execute on here$/m, /^exit code +3$/m, /^reason +to see$/m]) {
      assert.match(stdout, line)
    }
    assert.match(stdout, /^events\n {2}\S+ {2}accepted .*principal=user:/m)
    assert.match(stdout, /^output\n {2}out$/m)
  })

  test('show leads from a run that failed to its dead letter, and from a replay to the run', async () => {
    const failed = await run(['runs', 'show', ids[1] ?? ''])
    const [, letter = ''] = /^dead letter +(\S+) \(mahavishnu dlq show \1\)$/m.exec(failed.stdout) ?? []
    assert.match((await run(['dlq', 'show', letter])).stdout, new RegExp(`^run: +${ids[1]}$`, 'm'))
    const replay = JSON.parse((await run(['dlq', 'replay', letter, '--json'])).stdout).run.run_id
    const { stdout } = await run(['runs', 'show', replay])
    assert.match(stdout, new RegExp(`^replay of +${ids[1]}$`, 'm'))
    assert.doesNotMatch((await run(['runs', 'show', ids[0] ?? ''])).stdout, /^(dead letter|replay of|recovered) /m)
    // What comes after counts on the runs of the beginning.
    ids.push(replay)
  })

  test('explain tells what had a say, as a command of its own too', async () => {
    const long = await run(['runs', 'explain', ids[1] ?? ''])
    assert.equal(long.code, 0)
    assert.match(
      long.stdout,
      new RegExp(`^${ids[1]}: failed \\(MHV_SSH_AUTH_FAILED\\), 1 attempt; nothing delayed it\n`),
    )
    assert.match(long.stdout, /^took .*, in the queue 0(\.\d+)? m?s, between attempts 0(\.\d+)? m?s$/m)
    assert.match(long.stdout, / {2}policy {4}allowed for user:\d+ by the rule "all"$/m)
    assert.deepEqual(await run(['explain', ids[1] ?? '']), long)
    const missing = await run(['explain', '01K5E2W9QZ3V7M4T8N6R1XJYHB'])
    assert.equal(missing.code, EXIT.input)
    assert.match(missing.stderr, /^error MHV_RUN_UNKNOWN: /)
    assert.match((await run(['explain', '--help'])).stdout, /The same as `mahavishnu runs explain`/)
  })

  test('show tells how to go on where there are more events than one page has', async () => {
    const answer = JSON.parse((await run(['runs', 'show', ids[2] ?? '', '--json'])).stdout)
    assert.doesNotMatch(runWithEventsText(answer), /more events/)
    assert.match(runWithEventsText({ ...answer, next_event: 1000 }), /^ {2}more events: --since-event 1000$/m)
  })

  test('wait exits as the run did', async () => {
    assert.equal((await run(['runs', 'wait', ids[0] ?? ''])).code, 0)
    assert.equal((await run(['runs', 'wait', ids[1] ?? ''])).code, EXIT.permission)
    assert.equal((await run(['runs', 'wait', ids[2] ?? ''])).code, 3)
  })

  test('output has each stream on its own', async () => {
    assert.deepEqual(await run(['runs', 'output', ids[2] ?? '']), { code: 0, stdout: 'out\n', stderr: 'err\n' })
    const page = await run(['runs', 'output', ids[2] ?? '', '--cursor', '1'])
    assert.equal(page.stdout + page.stderr, 'err\n')
  })

  test('cancel of a run that has ended shows how it ended', async () => {
    const { code, stdout } = await run(['runs', 'cancel', ids[0] ?? ''])
    assert.equal(code, 0)
    assert.match(stdout, /^status +completed$/m)
  })

  test('an id that does not exist is an error', async () => {
    const { code, stderr } = await run(['runs', 'show', '01K5E2W9QZ3V7M4T8N6R1XJYHB'])
    assert.equal(code, EXIT.input)
    assert.match(stderr, /^error MHV_RUN_UNKNOWN: /)
  })
})

describe('a journal that is not there', () => {
  const place = async (file: string) => {
    const made = await surfaceFolder(`journal:\n  file: ${file}\n`)
    places.push(made)
    return made.path
  }
  const places: (typeof folder)[] = []
  after(() => Promise.all(places.map(({ remove }) => remove())))
  const doctorOf = async (path: string) =>
    (await createDoctor(surfaceComposition())({ folder: path })).find(({ check }) => check === 'journal')

  test('is an empty one where nothing was run yet', async () => {
    const path = await place('journal/journal.db')
    const { code, stdout } = await runHere(['runs', 'list', '--folder', path], { app })
    assert.deepEqual([code, stdout], [0, 'no runs\n'])
    assert.deepEqual(await doctorOf(path), { check: 'journal', level: 'ok', message: 'none yet' })
  })

  test('is an error where it cannot be looked at, or is a link to nothing: that it has no runs is not known', async () => {
    const linked = await place('link.db')
    await symlink(join(linked, 'gone', 'journal.db'), join(linked, 'link.db'))
    for (const path of [linked, await place('settings/policy.yaml/journal.db')]) {
      const { code, stdout, stderr } = await runHere(['runs', 'list', '--folder', path], { app })
      assert.deepEqual([code, stdout], [EXIT.configuration, ''], stderr)
      assert.match(stderr, /^error MHV_INSTANCE_INVALID: .*\.db/)
      assert.equal((await doctorOf(path))?.level, 'fail')
    }
  })
})

describe('while another process holds the folder', () => {
  let holder: Instance
  before(async () => {
    holder = await app.instances.open({ folder: folder.path, doing: 'holding it' })
  })
  after(() => holder.close())

  test('what only reads works', async () => {
    for (const args of [
      ['runs', 'list'],
      ['runs', 'show', ids[0] ?? ''],
      ['workers', 'list'],
    ]) {
      assert.equal((await run(args)).code, 0, args.join(' '))
    }
  })

  test('what needs the lock says who has it', async () => {
    for (const args of [
      ['probe', 'touch', 'one'],
      ['workers', 'health'],
    ]) {
      const { code, stderr } = await run(args)
      assert.equal(code, EXIT.locked, args.join(' '))
      assert.match(stderr, /^error MHV_INSTANCE_LOCKED: .*holding it/)
    }
  })

  test('a run of that process can be followed', async () => {
    const input = { pieces: ['early\n'], wait_ms: 3_000 }
    const { principal } = holder
    const envelope = { target: 'one', wait: 0 }
    const { run_id } = await holder.invoke({ operation: 'probe.emit', input, envelope, principal, surface: 'embedded' })
    const waiting = await run(['runs', 'wait', run_id, '--seconds', '0.1'])
    assert.equal(waiting.code, EXIT.timeout)
    assert.match(waiting.stdout, /^status +running$/m)
    const { app: watched, asked } = watchedApp()
    const left = await run(['runs', 'wait', run_id], {
      app: watched,
      interrupting: (interrupt) => void asked.then(interrupt),
    })
    assert.deepEqual(left, { code: EXIT.cancelled, stdout: '', stderr: 'interrupted\n' })
    assert.equal((await run(['runs', 'wait', run_id])).code, 0)
    assert.equal((await run(['runs', 'output', run_id])).stdout, 'early\n')
  })
})

describe('workers, config and doctor', () => {
  test('workers list shows operations and targets', async () => {
    const { stdout } = await run(['workers', 'list'])
    assert.match(stdout, /^probe: Probe\n/)
    assert.match(stdout, / {2}local\.execute +destroy +Runs a shell command/)
    assert.match(stdout, / {2}targets: one, two\n/)
  })

  test('workers health shows one, and looks at a target', async () => {
    const { code, stdout } = await run(['workers', 'health', 'probe', '--ping', 'one'])
    assert.equal(code, 0)
    assert.match(stdout, /^probe: 0 running, 0 queued/)
    assert.match(stdout, /^one \(probe\): healthy: one is there$/m)
    assert.match(
      stdout,
      /^admission\n {2}LEVEL +RUNNING +QUEUED +FULL +REFUSED +SHED +EXPIRED\n {2}process +0 +0 +0\/\d+ /m,
    )
    for (const level of ['worker', 'target', 'principal']) assert.match(stdout, new RegExp(`^  ${level} +0 +0 `, 'm'))
  })

  test('breakers: list says what holds calls back, force what it did, health which ones are held', async () => {
    assert.equal((await run(['breakers', 'list', '--on', 'two'])).stdout, 'no circuit breaker holds anything back\n')
    const hold = ['breakers', 'force', 'two', '--worker', 'probe', '--state', 'open']
    const held = /^WORKER +TARGET +STATE +HELD +FAILURES +TRIED AGAIN\nprobe +two +open +by an operator +\d+ +-\n$/
    assert.match((await run(hold)).stdout, held)
    assert.match((await run(hold)).stdout, /\nit was like this before\n$/)
    assert.match((await run(['breakers', 'list', '--on', 'two'])).stdout, held)
    assert.match((await run(['workers', 'health', 'probe'])).stdout, /^ {2}breaker of two: open, held by an operator$/m)
    const { stdout } = await run(['breakers', 'force', 'two', '--worker', 'probe', '--state', 'auto'])
    assert.match(stdout, /^probe +two +closed +no +/m)
  })

  test('what is told on standard output is not logged as well, unless a setting asks for it', async () => {
    const force = (state: string, ...more: string[]) =>
      runProgram(['breakers', 'force', 'here', '--worker', 'local', '--state', state, '--folder', folder.path, ...more])
    const { code, stderr } = await force('open')
    assert.deepEqual([code, stderr], [0, ''])
    assert.match((await force('closed', '--set', 'log.level=warn')).stderr, /"msg":"a circuit breaker changed"/)
    assert.equal((await force('auto')).code, 0)
  })

  test('config explain, show, schema and validate', async () => {
    assert.match(
      (await run(['config', 'explain', 'a.b'])).stdout,
      /^a\.b = 20\n {2}from {6}MAHAVISHNU_A__B \(environment\)\n/,
    )
    assert.match((await run(['config', 'show'])).stdout, /^SETTING +VALUE +FROM\na\.b +20 +MAHAVISHNU_A__B\n$/)
    assert.equal(JSON.parse((await run(['config', 'schema'])).stdout).type, 'object')
    assert.match((await run(['config', 'validate'])).stdout, /^settings +\/x\/mahavishnu\.yaml\nvalid\n$/)
  })

  test('config validate lists everything that is wrong', async () => {
    const { code, stderr } = await runHere(['config', 'validate', '--folder', '/broken'], { app })
    assert.equal(code, EXIT.configuration)
    assert.match(
      stderr,
      /^error MHV_CONFIG_UNKNOWN_KEY: .*:2:1: .*\n {2}MHV_CONFIG_INVALID: .*:3:4: must be a number\nfix: /,
    )
  })

  test('doctor says what to do, and exits with 0 unless something fails', async () => {
    const { code, stdout } = await run(['doctor'])
    assert.equal(code, 0)
    assert.match(stdout, /^ok {4}node +Node \d+/)
    assert.match(stdout, /^warn {2}policy +there is none\n +fix: Copy/m)
    const failing: CliApp = {
      ...app,
      doctor: async () => [{ check: 'journal', level: 'fail', message: 'gone', fix: 'restore it' }],
    }
    assert.equal((await run(['doctor'], { app: failing })).code, EXIT.configuration)
  })

  test('settings of the command line reach the instance', async () => {
    const { code, stderr } = await run(['probe', 'touch', 'one', '--set', 'runs.wait=1'])
    assert.equal(code, EXIT.configuration)
    assert.match(stderr, /^error MHV_CONFIG_UNKNOWN_KEY: /)
  })
})
