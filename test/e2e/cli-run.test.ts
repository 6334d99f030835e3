import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { EXIT } from '../../src/core/error-table.ts'
import type { WorkerResult } from '../../src/core/result.ts'
import {
  type RunOptions,
  runHere,
  runProgram,
  startProgram,
  surfaceApp,
  surfaceFolder,
} from '../helpers/mcp-cli-fixture.ts'

let folder: Awaited<ReturnType<typeof surfaceFolder>>
const app = surfaceApp()
before(async () => {
  folder = await surfaceFolder('runs: { text_bytes: 1000 }\n')
})
after(() => folder.remove())

/** A command on the local shell; the words are those before and after `--`. */
function execute(options: readonly string[], words: readonly string[], more: RunOptions = {}) {
  return runHere(['local', 'execute', 'here', ...options, '--folder', folder.path, '--', ...words], { app, ...more })
}

describe('a command run from the command line', () => {
  test('passes both streams and the exit code through', async () => {
    const ran = await execute([], ['printf out; printf err >&2; exit 7'])
    assert.deepEqual(ran, { code: 7, stdout: 'out', stderr: 'err' })
  })

  test('exits with 126 for what cannot pass, and says what it was', async () => {
    const high = await execute([], ['exit 200'])
    assert.deepEqual(high, { code: 126, stdout: '', stderr: 'ended with exit code 200\n' })
    const limit = await execute([], ['exit 125'])
    assert.deepEqual(limit, { code: 125, stdout: '', stderr: '' })
    const killed = await execute([], ['kill -9 $$'])
    assert.deepEqual(killed, { code: 126, stdout: '', stderr: 'ended by signal KILL\n' })
  })

  test('takes one word after -- as a command, and several as arguments', async () => {
    assert.equal((await execute([], ['echo $((1 + 1))'])).stdout, '2\n')
    assert.equal(
      (await execute([], ['printf', '[%s]', 'two words', '*', '$HOME', "it's", ''])).stdout,
      "[two words][*][$HOME][it's][]",
    )
    assert.equal((await execute([], ['echo', '--json', '--', '-h'])).stdout, '--json -- -h\n')
  })

  test('has standard input, variables and fields of every type', async () => {
    const stdin = { stdin: 'a\nb' }
    const ran = await execute(['--stdin', '--env', 'A=1', '--env', 'B=x=y'], ['cat; printf "|$A|$B"'], stdin)
    assert.equal(ran.stdout, 'a\nb|1|x=y')
  })

  test('refuses standard input that is no text, instead of changing it', async () => {
    const ran = await execute(['--stdin'], ['cat'], { stdin: new Uint8Array([0xff, 0xfe]) })
    assert.equal(ran.code, EXIT.input)
    assert.match(ran.stderr, /^error MHV_INPUT_INVALID: standard input is not UTF-8 text\nfix: Encode/)
  })

  test('tells where the output is that it does not show', async () => {
    const { code, stdout, stderr } = await execute([], ['seq 1 1000'])
    assert.equal(code, 0)
    assert.match(stdout, /^1\n2\n[\s\S]*bytes left out here[\s\S]*1000\n$/)
    const [, run = ''] = /`mahavishnu runs output ([0-9A-Z]{26})`/.exec(stderr) ?? []
    const whole = await runHere(['runs', 'output', run, '--folder', folder.path], { app })
    assert.equal(whole.stdout, Array.from({ length: 1000 }, (_, index) => `${index + 1}\n`).join(''))
  })

  test('with --json prints exactly the result', async () => {
    const { code, stdout, stderr } = await execute(['--json'], ['echo out; echo err >&2; exit 4'])
    const result = JSON.parse(stdout) as WorkerResult
    assert.equal(code, 4)
    assert.equal(stderr, '')
    assert.equal(stdout.trim().split('\n').length, 1)
    assert.equal(result.exit_code, 4)
    assert.deepEqual(result.data, { stdout: 'out\n', stderr: 'err\n', exit_code: 4, signal: null })
  })

  test('on a terminal takes the orders out of what a remote system says', async () => {
    const hostile = 'printf "\\033]0;title\\007\\033[2Jtext"'
    assert.equal((await execute([], [hostile], { columns: 80 })).stdout, 'text')
    assert.equal((await execute([], [hostile])).stdout, '\x1b]0;title\x07\x1b[2Jtext')
  })

  test('tells a failure with its code, remedy, effect and run, and exits with the code of the table', async () => {
    const failures = {
      MHV_SSH_CONNECTION_LOST: 209,
      MHV_SSH_AUTH_FAILED: 202,
      MHV_SSH_KEY_INVALID: 210,
      MHV_EXEC_TIMEOUT: 207,
    }
    for (const [code, exit] of Object.entries(failures)) {
      const ran = await runHere(['probe', 'fail', 'one', '--code', code, '--folder', folder.path], { app })
      assert.equal(ran.code, exit, code)
      assert.equal(ran.stdout, '')
      assert.match(ran.stderr, new RegExp(`^error ${code}: told to\nfix: .+\neffect: .+\nrun: [0-9A-Z]{26} `))
    }
  })

  test('tells a refusal with its remedy', async () => {
    const ran = await runHere(['probe', 'touch', 'onee', '--folder', folder.path], { app })
    assert.equal(ran.code, EXIT.input)
    assert.match(ran.stderr, /^error MHV_TARGET_UNKNOWN: .*\nfix: .*\n$/)
  })

  test('stays until its run has ended, and tells its id after --wait', async () => {
    const wait = ['probe', 'emit', 'one', '--wait-ms', '300', '--wait', '0', '--folder', folder.path]
    const { code, stderr, stdout } = await runHere([...wait, '--pieces', 'done', '--json'], { app })
    assert.equal(code, 0)
    assert.match(stderr, /^run [0-9A-Z]{26} goes on; this command stays until it has ended\n$/)
    assert.equal((JSON.parse(stdout) as WorkerResult).status, 'completed')
    assert.equal((await runHere([...wait, '--quiet'], { app })).stderr, '')
  })

  test('shows on a terminal that it is still at it, and clears that away', async () => {
    const emit = ['probe', 'emit', 'one', '--wait-ms', '1300', '--pieces', 'a', '--folder', folder.path]
    const { stderr } = await runHere(emit, { app, columns: 80 })
    assert.match(stderr, /^\r\x1b\[Kprobe\.emit {2}1\.\d+ s {2}written\r\x1b\[K$/)
    assert.equal((await runHere(emit, { app })).stderr, '')
  })

  test('at its deadline exits with 207', async () => {
    const emit = ['probe', 'emit', 'one', '--wait-ms', '60000', '--timeout', '0.2', '--folder', folder.path]
    const { code, stderr } = await runHere(emit, { app })
    assert.equal(code, EXIT.timeout)
    assert.match(stderr, /^error MHV_RUN_TIMEOUT: /)
  })
})

describe('Ctrl-C', () => {
  /** Resolves when a run acts in the folder. */
  async function untilRunning(): Promise<void> {
    for (let tries = 0; tries < 200; tries++) {
      const { stdout } = await runHere(['runs', 'list', '--status', 'running', '--folder', folder.path], { app })
      if (!stdout.startsWith('no runs')) return
      await delay(50)
    }
    throw new Error('no run began')
  }

  test('once: cancels the run, and shows what is known of its effect', async () => {
    for (const wait of [[], ['--wait', '0']]) {
      let interrupt = () => {}
      const emit = ['probe', 'emit', 'one', '--wait-ms', '60000', ...wait, '--folder', folder.path]
      const running = runHere(emit, {
        app,
        interrupting: (act) => {
          interrupt = act
        },
      })
      await untilRunning()
      interrupt()
      const { code, stderr } = await running
      assert.equal(code, EXIT.cancelled)
      assert.match(stderr, /cancelling the run; once more leaves without waiting for it\n/)
      assert.match(stderr, /error MHV_RUN_CANCELLED: .*\nfix: .*\neffect: unknown: it may have been applied\nrun: /)
    }
  })

  test('while standard input is awaited: nothing is run', async () => {
    let interrupt = () => {}
    const endless = new Readable({ read: () => void setImmediate(interrupt) })
    const interrupting = (act: () => void) => {
      interrupt = act
    }
    const { code, stderr } = await execute(['--stdin'], ['cat'], { stdin: endless, interrupting })
    assert.equal(code, EXIT.cancelled)
    assert.match(stderr, /^error MHV_RUN_CANCELLED_QUEUED: /)
  })

  test('while the instance is still being opened: nothing is run', async () => {
    const emit = ['probe', 'touch', 'two', '--folder', folder.path]
    const { code, stderr } = await runHere(emit, { app, interrupting: (interrupt) => interrupt() })
    assert.equal(code, EXIT.cancelled)
    assert.match(stderr, /^error MHV_RUN_CANCELLED_QUEUED: /)
    const { stdout } = await runHere(['runs', 'list', '--on', 'two', '--folder', folder.path], { app })
    assert.equal(stdout, 'no runs\n')
  })

  test('twice, on a process of its own: leaves at once', async () => {
    const settings = ['--set', 'runs.abort_grace_seconds=60', '--folder', folder.path]
    const child = startProgram(['probe', 'emit', 'one', '--wait-ms', '60000', '--deaf', ...settings])
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text
    })
    const closed = once(child, 'close')
    try {
      await untilRunning()
      child.kill('SIGINT')
      for (let tries = 0; tries < 200 && !stderr.includes('cancelling'); tries++) await delay(20)
      child.kill('SIGINT')
      const [code] = await closed
      assert.equal(code, EXIT.unknown_effect, stderr)
      assert.match(stderr, /left without waiting/)
    } finally {
      child.kill('SIGKILL')
    }
  })
})

describe('a command line that is not understood', () => {
  const cases: readonly (readonly [readonly string[], RegExp])[] = [
    [['runs', 'lst'], /unknown command 'lst'; did you mean "list"\?\nfix: See `mahavishnu runs --help`\./],
    [['runs', 'list', '--folder', ''], /'--folder <FOLDER>' argument '' is invalid\. It is empty\./],
    [['rnus', 'list'], /unknown command 'rnus'; did you mean "runs"\?\nfix: See `mahavishnu --help`\./],
    [
      ['probe', 'touch', 'one', '--valeu', 'x'],
      /unknown option '--valeu'; did you mean "--value"\?\nfix: See `mahavishnu probe touch --help`/,
    ],
    [['probe', 'touch'], /missing required argument 'TARGET'/],
    [['probe', 'touch', 'one', 'two'], /too many arguments/],
    [
      ['probe', 'emit', 'one', '--wait-ms', 'soon'],
      /'--wait-ms <NUMBER>' argument 'soon' is invalid\. It is no number\./,
    ],
    [['local', 'execute', 'here', '--env', 'A'], /is not of the form KEY=VALUE/],
    [['local', 'all-fields', '--nested', '{'], /It is no JSON/],
    [['local', 'execute', 'here', '--'], /there are no words after --/],
    [['local', 'execute', 'here', '--command', 'a', '--', 'b'], /"command" is given twice/],
    [['probe', 'touch', 'one', '--', 'b'], /'touch' takes no words after --/],
    [['runs'], /`mahavishnu runs` needs a command/],
    [['local', 'execute', 'here', 'ls', '-la'], /unknown option '-la'|too many arguments/],
  ]

  for (const [args, expected] of cases) {
    test(`${args.join(' ')}: exits with 201 and says why`, async () => {
      const { code, stdout, stderr } = await runHere(args, { app })
      assert.equal(code, EXIT.input)
      assert.equal(stdout, '')
      assert.match(stderr, /(^|\n)error MHV_CLI_USAGE: /)
      assert.match(stderr, expected)
    })
  }

  test('help is on standard output and exits with 0', async () => {
    for (const args of [['--help'], ['help'], ['runs', '--help'], ['help', 'runs'], ['local', 'execute', '-h']]) {
      const { code, stdout, stderr } = await runHere(args, { app })
      assert.equal(code, 0, args.join(' '))
      assert.match(stdout, /^Usage: mahavishnu/)
      assert.equal(stderr, '')
    }
  })
})

describe('a process of its own', () => {
  test('prints the version', async () => {
    assert.deepEqual(await runProgram(['--version']), { code: 0, signal: null, stdout: '9.8.7\n', stderr: '' })
  })

  test('ends quietly when nobody reads its output any longer', async () => {
    const child = startProgram(['local', 'execute', 'here', '--folder', folder.path, '--', 'seq 1 100'])
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text))
    child.stdout.destroy()
    const [code] = await once(child, 'close')
    assert.equal(code, 0)
    assert.doesNotMatch(stderr, /EPIPE|Error|^ {4}at /m)
  })

  test('writes all of a large output before it ends', async () => {
    const wide = await surfaceFolder('runs: { text_bytes: 4000000, output_head_bytes: 4000000 }\n')
    try {
      const ran = await runProgram(['local', 'execute', 'here', '--folder', wide.path, '--', 'seq 1 300000'])
      const { stdout } = ran
      assert.equal(stdout.length, 1_988_895, ran.stderr)
      assert.ok(stdout.endsWith('\n300000\n'))
    } finally {
      await wide.remove()
    }
  })

  test('lets the folder go for whoever comes next', async () => {
    for (const value of ['first', 'second']) {
      const { code, stdout } = await runProgram(['probe', 'touch', 'one', '--value', value, '--folder', folder.path])
      assert.equal(code, 0)
      assert.equal(stdout, `${value}\n`)
    }
  })
})
