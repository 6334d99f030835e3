import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { WorkerResult } from '../../src/core/result.ts'
import { quoteWord } from '../../src/surfaces/cli/quote.ts'
import { type CliCommand, cliCommand, inShell, shellMissing } from '../helpers/cli-command.ts'
import { PROGRAM, runHere, runProgram, surfaceApp, surfaceFolder } from '../helpers/mcp-cli-fixture.ts'

let folder: Awaited<ReturnType<typeof surfaceFolder>>
let run_id: string
const app = surfaceApp()
before(async () => {
  folder = await surfaceFolder()
  const { stdout } = await runHere(['probe', 'touch', 'one', '--json', '--folder', folder.path], { app })
  run_id = (JSON.parse(stdout) as WorkerResult).run_id
})
after(() => folder.remove())

/** What is offered for a line, the last word of which is being typed. */
async function offered(...words: string[]): Promise<readonly string[]> {
  const { code, stdout, stderr } = await runHere(['complete', '--', '--folder', folder.path, ...words], { app })
  assert.deepEqual([code, stderr], [0, ''])
  return stdout.split('\n').flatMap((line) => (line === '' ? [] : line.split('\t').slice(0, 1)))
}

describe('CLI-02: what completion offers', () => {
  const cases: readonly (readonly [words: readonly string[], values: () => readonly string[]])[] = [
    [['ru'], () => ['runs']],
    [['help', 'ru'], () => ['runs']],
    [['runs', 'c'], () => ['cancel']],
    [['probe', 'touch', ''], () => ['one', 'two']],
    [['local', 'execute', ''], () => ['here']],
    [['runs', 'list', '--on', ''], () => ['one', 'two', 'here']],
    [['probe', 'touch', 'one', ''], () => []],
    [['probe', 'touch', 'one', '--prio'], () => ['--priority']],
    [['probe', 'touch', '--priority', 'low', 't'], () => ['two']],
    [['probe', 'touch', 'one', '--priority', ''], () => ['critical', 'normal', 'low']],
    [['probe', 'touch', 'one', '--priority=l'], () => ['--priority=low']],
    [['local', 'all-fields', '--mode', 'f'], () => ['fast']],
    [['local', 'all-fields', '--no-c'], () => ['--no-color']],
    [['local', 'execute', 'here', '--', 'on'], () => []],
    [['runs', 'show', ''], () => [run_id]],
    [['runs', 'follow', '0'], () => [run_id]],
    [['runs', 'list', '--status', 'run'], () => ['running']],
    [['runs', 'list', '--on', 'o'], () => ['one']],
    [['runs', 'list', '--operation', 'probe.l'], () => ['probe.look']],
    [['workers', 'health', 'pr'], () => ['probe']],
    [['config', 'explain', 'a'], () => ['a.b']],
    [['breakers', 'force', 'o'], () => ['one']],
    [['breakers', 'force', 'one', '--worker', 'pr'], () => ['probe']],
    [['breakers', 'force', 'one', '--state', ''], () => ['open', 'closed', 'auto']],
    [['exp'], () => ['explain']],
    [['explain', ''], () => [run_id]],
    [['dlq', 'show', ''], () => []],
    [['--set', ''], () => ['a.b=']],
    [['mcp', ''], () => ['config']],
    [['mcp', 'config', '--client', ''], () => ['claude', 'cursor', 'vscode', 'codex']],
    [['completion', ''], () => ['bash', 'zsh', 'fish']],
    [['--folder', ''], () => [':folders']],
    [['nothing', 'like', 'this', ''], () => []],
  ]
  for (const [words, values] of cases) {
    test(`mahavishnu ${words.join(' ')}`, async () => {
      assert.deepEqual(await offered(...words), values())
    })
  }

  test('the shells find out about runs what they are', async () => {
    const { stdout } = await runHere(['complete', '--', 'runs', 'show', '--folder', folder.path, ''], { app })
    assert.equal(stdout, `${run_id}\tprobe.touch on one, completed\n`)
  })

  test('dead letters, wherever one is named', async () => {
    const own = await surfaceFolder()
    try {
      const failing = ['probe', 'fail', 'one', '--code', 'MHV_SSH_AUTH_FAILED', '--json', '--folder', own.path]
      const { dead_letter } = (JSON.parse((await runHere(failing, { app })).stdout) as WorkerResult).metadata
      for (const words of [
        ['dlq', 'show'],
        ['dlq', 'replay'],
        ['dlq', 'archive'],
        ['dlq', 'purge', '--letters'],
      ]) {
        const { stdout } = await runHere(['complete', '--', '--folder', own.path, ...words, ''], { app })
        assert.equal(stdout, `${dead_letter}\tprobe.fail on one, open\n`, words.join(' '))
      }
    } finally {
      await own.remove()
    }
  })

  test('no value that means something to a shell, and no control character', async () => {
    const names = ['good-1', '$(touch x)', '`x`', 'a b', 'a;b', '\x1b]0;x\x07', 'a\nb', 'a\tb', "a'b", '*']
    const config = { ...app.config, targets: async () => names }
    const { stdout } = await runHere(['complete', '--', 'probe', 'touch', ''], { app: { ...app, config } })
    assert.equal(stdout, 'good-1\t\n')
  })

  test('at most 50 runs, the newest first', async () => {
    const many = await surfaceFolder()
    try {
      const ids: string[] = []
      const instance = await app.instances.open({ folder: many.path, doing: 'test' })
      const { principal } = instance
      for (let count = 0; count < 52; count++) {
        const call = { operation: 'probe.touch', input: {}, envelope: { target: 'one' }, principal, surface: 'cli' }
        ids.unshift((await instance.invoke(call)).run_id)
      }
      await instance.close()
      const { stdout } = await runHere(['complete', '--', '--folder', many.path, 'runs', 'show', ''], { app })
      const values = stdout
        .trimEnd()
        .split('\n')
        .map((line) => line.split('\t')[0])
      assert.deepEqual(values, ids.slice(0, 50))
    } finally {
      await many.remove()
    }
  })
})

describe('CLI-02: completion never gets in the way', () => {
  test('an instance that is not there, or cannot be read, offers nothing and says nothing', async () => {
    const broken = await mkdtemp(join(tmpdir(), 'mhv-broken-'))
    try {
      await mkdir(join(broken, 'settings'))
      await writeFile(join(broken, 'settings', 'inventory.yaml'), 'targets: [')
      for (const where of [broken, '/nowhere/at/all']) {
        for (const words of [
          ['probe', 'touch', ''],
          ['runs', 'show', ''],
        ]) {
          const args = ['complete', '--', ...words.slice(0, -1), '--folder', where, '']
          assert.deepEqual(await runProgram(args), { code: 0, signal: null, stdout: '', stderr: '' })
        }
      }
    } finally {
      await rm(broken, { recursive: true, force: true })
    }
  })

  test('neither does a line that makes no sense, nor a program that does not load', async () => {
    for (const words of [[], ['--', '--'], ['--folder'], ['complete', '--', 'x']]) {
      const ran = await runHere(['complete', ...words], { app })
      assert.deepEqual([ran.code, ran.stderr], [0, ''], words.join(' '))
    }
    const { runCli } = await import('../../src/surfaces/cli/run.ts')
    const load = async () => Promise.reject(new Error('does not load'))
    assert.equal(await runCli(['complete', '--', 'ru'], { version: '', app: load }), 0)
  })

  test('an instance that does not answer is given up on', { timeout: 30_000 }, async () => {
    let left: number | undefined
    const config = { ...app.config, targets: () => new Promise<never>(() => undefined) }
    const began = performance.now()
    const { code, stdout } = await runHere(['complete', '--', 'probe', 'touch', ''], {
      app: { ...app, config },
      exiting: (status) => {
        left = status
      },
    })
    await new Promise(setImmediate)
    assert.deepEqual([code, stdout, left], [0, '', 0])
    assert.ok(performance.now() - began < 10_000)
  })

  test('nothing in the folder is changed', async () => {
    const state = async () => {
      const names = (await readdir(folder.path, { recursive: true })).sort()
      return Promise.all(
        names.map(async (name) => {
          const { size, mtimeMs, ino } = await stat(join(folder.path, name))
          // SQLite's memory of who reads: no data of anybody.
          return name.endsWith('-shm') ? [name, ino] : [name, size, mtimeMs, ino]
        }),
      )
    }
    const before = await state()
    assert.deepEqual(await offered('runs', 'show', ''), [run_id])
    assert.deepEqual(await offered('probe', 'touch', 'o'), ['one'])
    assert.deepEqual(await state(), before)
  })
})

describe('CLI-02: the scripts, in the shells themselves', { concurrency: 3 }, () => {
  let command: CliCommand
  before(async () => {
    command = await cliCommand(PROGRAM)
  })
  after(() => command.remove())

  const lines = (text: string) => text.split('\n').filter((line) => line !== '')

  describe('bash', { skip: shellMissing('bash') }, () => {
    /** What `mahavishnu completion bash` printed. */
    let printed: string
    before(async () => {
      const { code, stdout, stderr } = await inShell('bash', 'mahavishnu completion bash', { command })
      assert.deepEqual([code, stderr], [0, ''])
      printed = join(command.path, 'completion.bash')
      await writeFile(printed, stdout)
    })

    /** COMPREPLY for the words of bash, the last of which is at the cursor. */
    async function reply(words: readonly string[], type = 9): Promise<readonly string[]> {
      const script = [
        `eval "$(cat ${quoteWord(printed)})"`,
        'complete -p mahavishnu >&2',
        `COMP_WORDS=(mahavishnu --folder ${[folder.path, ...words].map(quoteWord).join(' ')})`,
        `COMP_CWORD=${words.length + 2}; COMP_TYPE=${type}`,
        '_mahavishnu mahavishnu',
        `printf '%s\\n' "\${COMPREPLY[@]}"`,
      ].join('\n')
      const { stdout, stderr } = await inShell('bash', script, { command, cwd: folder.path })
      assert.equal(stderr, 'complete -F _mahavishnu mahavishnu\n')
      return lines(stdout)
    }

    test('completes commands, targets, runs and choices', async () => {
      assert.deepEqual(await reply(['ru']), ['runs'])
      assert.deepEqual(await reply(['probe', 'touch', '']), ['one', 'two'])
      assert.deepEqual(await reply(['runs', 'show', '']), [run_id])
      assert.deepEqual(await reply(['probe', 'touch', 'one', '--priority', 'c']), ['critical'])
    })

    test('puts a value behind the = at which bash takes words apart', async () => {
      assert.deepEqual(await reply(['probe', 'touch', 'one', '--priority', '=', 'c']), ['critical'])
      assert.deepEqual(await reply(['probe', 'touch', 'one', '--priority', '=']), ['critical', 'normal', 'low'])
      assert.deepEqual(await reply(['--set', 'a']), ['a.b='])
    })

    test('lists descriptions, and inserts none', async () => {
      const listed = await reply(['runs', ''], 63)
      assert.ok(listed.includes('follow  (Follow a run: its events and output as they come, to its end)'), listed[0])
      assert.ok((await reply(['runs', ''])).includes('follow'))
      assert.deepEqual(await reply(['runs', 'fol'], 63), ['follow'])
    })

    test('completes folders itself', async () => {
      assert.deepEqual(await reply(['--folder', 'sett']), ['settings'])
    })
  })

  describe('fish', { skip: shellMissing('fish') }, () => {
    /** What is offered for each of the lines, in one fish. */
    async function replies(...typed: readonly string[]): Promise<readonly (readonly string[])[]> {
      const asked = typed.map(
        (words) => `echo =; complete -C ${quoteWord(`mahavishnu --folder ${folder.path} ${words}`)}`,
      )
      const script = ['mahavishnu completion fish | source', ...asked].join('\n')
      const env = { HOME: folder.path }
      const { stdout, stderr } = await inShell('fish', script, { command, env, cwd: folder.path })
      assert.equal(stderr, '')
      return stdout.split(/^=\n/m).slice(1).map(lines)
    }

    test('completes commands, targets, runs, choices and folders', async () => {
      const [command = [], targets, runs, choices, folders = []] = await replies(
        'ru',
        'probe touch ',
        'runs show ',
        'probe touch one --priority c',
        '--folder sett',
      )
      assert.match(command[0] ?? '', /^runs\t/)
      assert.deepEqual(targets, ['one', 'two'])
      assert.deepEqual(runs, [`${run_id}\tprobe.touch on one, completed`])
      assert.deepEqual(choices, ['critical'])
      assert.match(folders.join(), /^settings\//)
    })
  })

  describe('zsh', { skip: shellMissing('zsh') }, () => {
    /** What the line is after a Tab in a zsh with a line editor, on a terminal of its own. */
    async function typed(words: string): Promise<string> {
      const begin = `mahavishnu --folder ${folder.path} `
      const script = [
        'zmodload zsh/zpty',
        'zpty shell "TERM=dumb PS1= zsh -f -i"',
        'say() { zpty -w shell "$1" }',
        'say "autoload -Uz compinit; compinit -D -u; eval \\"\\$(mahavishnu completion zsh)\\"; unset zle_bracketed_paste"',
        // The widget shows the line as it is after completion; its own text, echoed, has no such brackets.
        'say \'show() { print -r -- "<""<$BUFFER>"">"; BUFFER= }; zle -N show; bindkey "^G" show; print re\'\'ady\'',
        'local text; zpty -r -m shell text "*ready*" || exit 3',
        `zpty -w -n shell ${quoteWord(begin + words)}$'\\t\\a'`,
        'zpty -r -m shell text "*<<*>>*" || exit 4',
        'print -r -- "$text"',
        'zpty -d shell',
      ].join('\n')
      const env = { HOME: folder.path }
      const { code, stdout, stderr } = await inShell('zsh', script, { command, env, cwd: folder.path })
      const [, buffer] = /<<(.*?)>>/s.exec(stdout) ?? []
      assert.ok(buffer !== undefined, `exit code ${code}: ${JSON.stringify(stdout)} ${stderr}`)
      assert.ok(buffer.startsWith(begin), buffer)
      return buffer.slice(begin.length)
    }

    test('completes commands, targets, runs and settings in its line editor', { timeout: 60_000 }, async () => {
      assert.equal(await typed('ru'), 'runs ')
      assert.equal(await typed('probe touch tw'), 'probe touch two ')
      assert.equal(await typed('runs show '), `runs show ${run_id} `)
      assert.equal(await typed('--set a'), '--set a.b=')
      assert.equal(await typed('--folder sett'), '--folder settings/')
    })
  })
})
