import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { systemClock as clock } from '../../src/core/clock.ts'
import { type KeysInput, parseKeys } from '../../src/workers/terminal/keys/key-notation.ts'
import { typeKeys } from '../../src/workers/terminal/keys/type-keys.ts'
import { followSession } from '../../src/workers/terminal/screen/session-screen.ts'
import { type WaitRequest, waitFor } from '../../src/workers/terminal/wait/wait-for.ts'
import { type ProgramOptions, startTerminalProgram, type TerminalProgram } from '../helpers/terminal-program.ts'
import { local, terminalFolder } from '../helpers/terminal-sessions.ts'

let folder = ''
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mahavishnu-programs-'))
})
after(() => rm(folder, { recursive: true, force: true }))

/** The same on the PTY host, as a session of the product. */
async function startHosted(command: readonly string[]) {
  const place = await terminalFolder()
  const sessions = await place.sessions()
  const session = await sessions.startLocal(local(command, { cwd: folder }))
  const screen = followSession(session, { failed: (error) => assert.fail(String(error)) })
  return {
    session,
    screen,
    async [Symbol.asyncDispose]() {
      screen.dispose()
      await session.close()
      await place.end()
    },
  }
}

type Driven = Pick<TerminalProgram, 'session' | 'screen'>

const start = (command: readonly string[], options: ProgramOptions = {}) =>
  startTerminalProgram(command, { cwd: folder, ...options, env: { HOME: folder, ...options.env } })

async function keys(program: Driven, input: KeysInput, delayMs = 10): Promise<void> {
  await typeKeys(parseKeys(input), {
    clock,
    delayMs,
    modes: () => program.screen.modes(),
    write: ({ bytes }) => program.session.write(bytes),
    secret: () => assert.fail('no secret here'),
  })
}

async function until(program: Driven, request: Omit<WaitRequest, 'timeoutMs'>): Promise<void> {
  const { outcome } = await waitFor(program.screen, { ...request, timeoutMs: 10_000 }, { clock })
  const wanted =
    request.text === undefined ? (request.regex === undefined ? (request.exit ? 'exit' : 'stable') : 'regex') : 'text'
  if (outcome !== wanted)
    assert.fail(`${JSON.stringify(request)}: ${outcome}\n${(await program.screen.snapshot()).lines.join('\n')}`)
}

describe('real programs are driven through keys, screen and waits', { timeout: 120_000 }, () => {
  test('vim: a file is edited, with cursor keys, a paste of several lines and a search', async () => {
    await using vim = start(['vim', '-u', 'NONE', '-i', 'NONE', '-N', 'note.txt'])
    await until(vim, { text: 'note.txt' })
    await keys(vim, ['i', 'first line\nlast', 'Up', 'Home', 'The ', 'Escape'])
    await until(vim, { regex: '^The first line\nlast' })
    await keys(vim, ['G', 'o', { paste: 'pasted ä宽\nmore' }, 'Escape', '/first\r', 'cw', 'only', 'Escape'])
    await until(vim, { regex: '^The only line\nlast\npasted ä宽\nmore' })
    assert.equal((await vim.screen.snapshot()).alternate, true)
    await keys(vim, [':wq', 'Enter'])
    await until(vim, { exit: true })
    assert.equal(await readFile(join(folder, 'note.txt'), 'utf8'), 'The only line\nlast\npasted ä宽\nmore\n')
  })

  test('top: it runs, sorts, and ends', async () => {
    await using top = start(['top', '-d', '0.5'])
    await until(top, { regex: 'PID USER .*COMMAND' })
    await keys(top, 'u')
    await until(top, { text: 'Which user' })
    await keys(top, ['root', 'Enter', 'q'])
    await until(top, { exit: true })
    assert.equal(top.session.exit()?.exit_code, 0)
  })

  test('less: forward, back to the top, search', async () => {
    await writeFile(join(folder, 'long.txt'), Array.from({ length: 500 }, (_, at) => `row ${at}`).join('\n'))
    await using less = start(['less', 'long.txt'])
    await until(less, { regex: '^row 0$' })
    await keys(less, ['Space', 'PageDown', 'Down'])
    await until(less, { regex: '^row 47$' })
    await keys(less, ['/row 321', 'Enter'])
    await until(less, { regex: '^row 321$' })
    await keys(less, ['Home', 'q'])
    await until(less, { exit: true })
  })

  test('nano: a text is written and saved', async () => {
    await using nano = start(['nano', '--ignorercfiles', 'nano.txt'])
    await until(nano, { text: 'GNU nano' })
    await keys(nano, ['one\ntwo', 'Ctrl+O', 'Enter'])
    await until(nano, { text: 'Wrote 2 lines' })
    await keys(nano, 'Ctrl+X')
    await until(nano, { exit: true })
    assert.equal(await readFile(join(folder, 'nano.txt'), 'utf8'), 'one\ntwo\n')
  })

  test("dialog, as apt's questions are: a choice by cursor key and tab", async () => {
    await using dialog = start([
      'sh',
      '-c',
      'dialog --menu Choose 15 40 4 a first b second 2>choice; echo "status $?"; cat choice',
    ])
    await until(dialog, { text: 'second' })
    await keys(dialog, ['Down', 'Tab', 'Shift+Tab', 'Enter'])
    await until(dialog, { exit: true })
    assert.equal(await readFile(join(folder, 'choice'), 'utf8'), 'b')
  })

  test('htop: a click of the mouse opens the help', async () => {
    await using htop = start(['htop', '-d', '5'])
    await until(htop, { regex: 'F1Help .*F10Quit' })
    await keys(htop, [{ mouse: { action: 'click', row: 23, col: 3 } }])
    await until(htop, { text: 'hide/show header meters' })
    await keys(htop, ['Space', 'F10'])
    await until(htop, { exit: true })
  })

  test('TTY-05: a resize reaches the program, its children, and the screen', async () => {
    await using vim = await startHosted(['vim', '-u', 'NONE', '-i', 'NONE', '-N', '-c', 'set ruler laststatus=2'])
    await until(vim, { text: '[No Name]' })
    await vim.screen.resize(40, 132)
    // The status line of vim stands in the row before the last, as wide as the screen.
    await until(vim, { regex: '^\\[No Name\\].{100,}All$' })
    const { rows, cols, lines } = await vim.screen.snapshot()
    assert.deepEqual([rows, cols, lines.length], [40, 132, 40])
    assert.match(lines[38] ?? '', /^\[No Name\].{100,}All$/)
    await keys(vim, [':!stty size', 'Enter'])
    await until(vim, { text: '40 132' })
    await vim.screen.resize(10, 30)
    await keys(vim, ['Enter', ':!stty size', 'Enter'])
    await until(vim, { text: '10 30' })
  })

  test('TTY-06: a signal, and a key that makes one, reach the foreground job and not the shell', async () => {
    await using shell = await startHosted(['bash', '--norc'])
    await keys(shell, ["PS1='ready> '", 'Enter'])
    await until(shell, { regex: '^ready>' })
    for (const interrupt of [() => shell.session.signal('SIGINT'), () => keys(shell, 'Ctrl+C')]) {
      const from = shell.screen.end()
      await keys(shell, ['sleep 1000 & sh -c "echo started; exec sleep 1000"; echo "ended $?"', 'Enter'])
      await until(shell, { regex: '^started$', after: from })
      // The prompt may be there before the interrupt has returned.
      const interrupted = shell.screen.end()
      await interrupt()
      await until(shell, { regex: '^ready> $', after: interrupted })
    }
    const from = shell.screen.end()
    await keys(shell, ['jobs -r | grep -c sleep', 'Enter'])
    // Both of the jobs in the background still run.
    await until(shell, { regex: '^2$', after: from })
    await keys(shell, ['kill %1 %2; exit 5', 'Enter'])
    await until(shell, { exit: true })
    assert.equal(shell.session.exit()?.exit_code, 5)
  })
})
