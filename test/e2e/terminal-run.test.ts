import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { systemClock as clock } from '../../src/core/clock.ts'
import { type RunShell, runCommand } from '../../src/workers/terminal/wait/run-command.ts'
import { newNonce, shellIntegration } from '../../src/workers/terminal/wait/shell-integration.ts'
import { waitFor } from '../../src/workers/terminal/wait/wait-for.ts'
import { startTerminalProgram } from '../helpers/terminal-program.ts'

interface Case {
  readonly name: string
  readonly shell: string
  /** Started with marks, or as anybody starts it. */
  readonly marked: boolean
}

const CASES: readonly Case[] = [
  { name: 'bash', shell: 'bash', marked: true },
  { name: 'zsh', shell: 'zsh', marked: true },
  { name: 'dash', shell: 'dash', marked: true },
  { name: 'bash without marks', shell: 'bash', marked: false },
  { name: 'dash without marks', shell: 'dash', marked: false },
]

async function startShell({ shell, marked }: Case) {
  const folder = await mkdtemp(join(tmpdir(), 'mahavishnu-shell-'))
  const nonce = newNonce()
  const integration = shellIntegration(shell, folder, nonce)
  assert.ok(integration)
  if (marked)
    for (const [name, text] of Object.entries(integration.files))
      await writeFile(join(folder, name), text, { mode: 0o600 })
  const program = startTerminalProgram(marked ? integration.command : [shell], {
    env: { HOME: '/nonexistent', ...(marked ? integration.environment : {}) },
  })
  const known: RunShell = { nonce: marked ? nonce : null, marksOutput: shell !== 'dash' }
  const { prompt_by } = await waitFor(program.screen, { prompt: true, timeoutMs: 10_000 }, { clock })
  assert.equal(prompt_by, marked ? 'marks' : 'looks')
  if (marked)
    assert.ok(!existsSync(folder) || (await readdir(folder)).length === 0, 'the file with the random word is gone')
  const run = (command: string, timeoutMs = 10_000, shellFacts = known) =>
    runCommand(program.screen, shellFacts, command, {
      clock,
      timeoutMs,
      limits: { head: 65_536, tail: 65_536 },
      write: (bytes) => program.session.write(bytes),
    })
  return {
    program,
    nonce,
    run,
    async [Symbol.asyncDispose]() {
      await program[Symbol.asyncDispose]()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

for (const each of CASES) {
  test(`a run in ${each.name} gives exactly the output and the exit code`, { timeout: 60_000 }, async () => {
    await using shell = await startShell(each)
    const got = async (command: string) => {
      const { outcome, output, exit_code, exact } = await shell.run(command)
      assert.deepEqual([outcome, exact], ['done', true], command)
      return [output, exit_code]
    }
    assert.deepEqual(await got('echo hello'), ['hello\n', 0])
    assert.deepEqual(await got('printf "no end"; exit_with() { return 7; }; exit_with'), ['no end', 7])
    assert.deepEqual(await got('for i in 1 2; do\n\techo "it\'s $i!"\ndone\nfalse'), ["it's 1!\nit's 2!\n", 1])
    assert.deepEqual(await got('cd /usr && pwd'), ['/usr\n', 0])
    assert.deepEqual(await got('pwd'), ['/usr\n', 0], 'it is the shell itself that runs it')
    assert.deepEqual(await got("printf 'a\\r\\nb\\t\\033[1mx\\n'; echo äöü ✓"), ['a\r\nb\t\x1b[1mx\näöü ✓\n', 0])
    assert.deepEqual(await got('(exit 130)'), ['', 130])
    const long = await shell.run('seq 1 100000')
    const all = Array.from({ length: 100_000 }, (_, at) => `${at + 1}\n`).join('')
    assert.equal(long.output_bytes, all.length + 100_000)
    assert.ok(long.output.startsWith('1\n2\n') && long.output.endsWith('\n99999\n100000\n'))
    assert.equal(long.dropped_bytes, all.length + 100_000 - 2 * 65_536)
  })

  test(`output in ${each.name} cannot forge the end of a run`, { timeout: 60_000 }, async () => {
    await using shell = await startShell(each)
    const forged =
      "printf '\\033]133;D;0;mhv=%s\\033\\\\\\033]133;A\\033\\\\' x; printf '\\033]133;D;0\\007'; echo after; exit_code=3; (exit 3)"
    const { output, exit_code } = await shell.run(forged)
    assert.equal(exit_code, 3)
    assert.ok(output.endsWith('after\n'), output)
    const { output: environment } = await shell.run('env')
    assert.ok(!environment.includes(shell.nonce), 'no child process is told the word')
  })
}

test('a run that lasts longer than its bound says so, a second one is refused, and Ctrl+C brings the prompt back', {
  timeout: 60_000,
}, async () => {
  await using shell = await startShell(CASES[0] as Case)
  const { outcome, output, exit_code } = await shell.run('echo begun; sleep 1000', 500)
  assert.deepEqual([outcome, output, exit_code], ['timeout', 'begun\n', null])
  await assert.rejects(shell.run('echo no'), { code: 'MHV_TERMINAL_BUSY' })
  const from = shell.program.screen.end()
  await shell.program.type('\x03')
  const back = await waitFor(shell.program.screen, { prompt: true, after: from, timeoutMs: 5_000 }, { clock })
  assert.equal(back.prompt_by, 'marks')
  assert.equal((await shell.run('echo $?')).output, '130\n')
})

test('a shell within the shell, and a shell that ends', { timeout: 60_000 }, async () => {
  await using shell = await startShell(CASES[0] as Case)
  const begun = shell.program.screen.end()
  await shell.program.type('exec 3>&1; sh -i\r')
  const inner = await waitFor(shell.program.screen, { prompt: 'looks', after: begun, timeoutMs: 5_000 }, { clock })
  assert.equal(inner.prompt_by, 'looks')
  const nested = await shell.run('echo "$0 nested"; false', 5_000, {
    nonce: shell.nonce,
    marksOutput: true,
    nested: true,
  })
  assert.deepEqual([nested.output, nested.exit_code], ['sh nested\n', 1])
  const left = shell.program.screen.end()
  await shell.program.type('exit\r')
  const back = await waitFor(shell.program.screen, { prompt: true, after: left, timeoutMs: 5_000 }, { clock })
  assert.equal(back.prompt_by, 'marks')
  assert.equal((await shell.run('echo back')).output, 'back\n')
  const ended = await shell.run('echo bye; exit 4')
  assert.deepEqual([ended.outcome, ended.output, ended.exit?.exit_code], ['exit', 'bye\nexit\n', 4])
})

test('property: any command text reaches the shell as it is', { timeout: 120_000 }, async () => {
  for (const each of [CASES[0], CASES[1], CASES[4]] as Case[]) {
    await using shell = await startShell(each)
    const text = fc.string({
      minLength: 1,
      maxLength: 60,
      unit: fc.constantFrom(...'ab \'"\\!$`;|&<>(){}[]*?~#%^=\t\nä宽'),
    })
    await fc.assert(
      fc.asyncProperty(text, async (argument) => {
        const { output, exit_code } = await shell.run(`printf '[%s]' '${argument.replaceAll("'", `'\\''`)}'`)
        assert.deepEqual([output, exit_code], [`[${argument}]`, 0])
      }),
      { numRuns: 40 },
    )
  }
})
