import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { HOSTILE } from '../../../test/helpers/ssh-hostile-values.ts'
import { type CommandRequest, commandLine, MAX_LINE_BYTES } from './command-line.ts'
import type { LoginShell } from './login-shell.ts'
import { createStartScanner } from './start-report.ts'

const BASH: LoginShell = { path: '/bin/bash', posix: true, sh: true }
const FISH: LoginShell = { path: '/usr/bin/fish', posix: false, sh: true }

const base = { runId: '01JXXXXXXXXXXXXXXXXXXXXXXX', marker: 'mark-1', env: {} }

/** Arguments and facts, and exactly what is sent for them. */
const CASES: readonly {
  readonly title: string
  readonly request: Partial<CommandRequest> & { readonly command: string }
  readonly shell?: LoginShell
  readonly line: string
}[] = [
  {
    title: 'a command alone: standard input is empty, the command stands unquoted and last',
    request: { command: 'df -h | sort' },
    line: [
      "export MAHAVISHNU_RUN_ID='01JXXXXXXXXXXXXXXXXXXXXXXX'",
      'exec </dev/null',
      `printf '%s %s\\n' 'mark-1' "$$" >&2`,
      'df -h | sort',
    ].join('\n'),
  },
  {
    title: 'standard input is left alone when there is some, even when it is empty',
    request: { command: 'cat', stdin: '' },
    line: ["export MAHAVISHNU_RUN_ID='01JXXXXXXXXXXXXXXXXXXXXXXX'", `printf '%s %s\\n' 'mark-1' "$$" >&2`, 'cat'].join(
      '\n',
    ),
  },
  {
    title: 'variables and a directory, each quoted once; what fails is reported before the PID is',
    request: { command: 'make', stdin: '', env: { A: "it's", B_2: '$(id)\n-n' }, cwd: "/srv/a b'c" },
    line: [
      "export MAHAVISHNU_RUN_ID='01JXXXXXXXXXXXXXXXXXXXXXXX'",
      `export A='it'\\''s' B_2='$(id)\n-n' || { printf '%s env\\n' 'mark-1' >&2; exit 126; }`,
      `cd -- '/srv/a b'\\''c' || { printf '%s cwd\\n' 'mark-1' >&2; exit 126; }`,
      `printf '%s %s\\n' 'mark-1' "$$" >&2`,
      'make',
    ].join('\n'),
  },
  {
    title: 'a relative directory cannot be an option, the last directory, or found through CDPATH',
    request: { command: ':', stdin: '', cwd: '-' },
    line: [
      "export MAHAVISHNU_RUN_ID='01JXXXXXXXXXXXXXXXXXXXXXXX'",
      `cd -- './-' || { printf '%s cwd\\n' 'mark-1' >&2; exit 126; }`,
      `printf '%s %s\\n' 'mark-1' "$$" >&2`,
      ':',
    ].join('\n'),
  },
  {
    title: 'a command of several lines with a here-document is passed as it is',
    request: { command: "cat <<'EOF'\n$x 'y'\nEOF", stdin: '' },
    line: [
      "export MAHAVISHNU_RUN_ID='01JXXXXXXXXXXXXXXXXXXXXXXX'",
      `printf '%s %s\\n' 'mark-1' "$$" >&2`,
      "cat <<'EOF'\n$x 'y'\nEOF",
    ].join('\n'),
  },
  {
    title: 'another kind of shell gets one line for /bin/sh, without anything that it could expand',
    request: { command: "echo 'hi!'", stdin: '' },
    shell: FISH,
    line:
      `exec /bin/sh -c '_mhv="$(printf %b_ "export MAHAVISHNU_RUN_ID=\\004701JXXXXXXXXXXXXXXXXXXXXXXX\\0047\\0012` +
      `printf \\0047%s %s\\0134n\\0047 \\0047mark-1\\0047 \\0042\\0044\\0044\\0042 >&2\\0012echo \\0047hi\\0041\\0047")";` +
      `eval "\${_mhv%_}"'`,
  },
]

for (const { title, request, shell = BASH, line } of CASES) {
  test(`SSH-04: ${title}`, () => {
    assert.deepEqual(commandLine({ ...base, ...request }, shell), { line, preamble: undefined })
  })
}

const folder = mkdtempSync(join(tmpdir(), 'mhv-command-'))
after(() => rmSync(folder, { recursive: true }))

/** Runs a line as sshd does: by the login shell, with `-c`, and the bytes on standard input. */
function runAs(program: string, made: { line: string; preamble: Buffer | undefined }, stdin = '') {
  const input = Buffer.concat([made.preamble ?? Buffer.alloc(0), Buffer.from(stdin)])
  const { stdout, stderr, status, pid } = spawnSync(program, ['-c', made.line], {
    input,
    cwd: folder,
    // With SHLVL, bash does not take itself for a log-in through sshd, and reads no profile.
    env: { PATH: process.env.PATH, CDPATH: '/usr', SHLVL: '3' },
    maxBuffer: 1e8,
  })
  const scanner = createStartScanner(base.marker)
  const errors = Buffer.concat([scanner.push(stderr), scanner.end()]).toString()
  return { stdout: stdout.toString(), errors, status, pid, report: scanner.report() }
}

test('SSH-04: hostile values of variables arrive byte-identical in real shells (property)', () => {
  const value = fc
    .oneof(fc.string({ unit: 'binary' }), fc.constantFrom(...HOSTILE))
    .map((text) => text.replaceAll('\0', ''))
  const shells = [
    ['dash', BASH],
    ['bash', BASH],
    ['fish', FISH],
    ['tcsh', FISH],
  ] as const
  const installed = shells.filter(([program]) => spawnSync(program, ['-c', 'exit 0']).error === undefined)
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 5 }), value, (values, stdin) => {
      const names = values.map((_, index) => `V${index}`)
      const env = Object.fromEntries(names.map((name, index) => [name, values[index] ?? '']))
      const command = `printf '%s\\0' ${names.map((name) => `"$${name}"`).join(' ')}; cat`
      for (const [program, shell] of installed) {
        const ran = runAs(program, commandLine({ ...base, command, env, stdin }, shell), stdin)
        assert.equal(ran.stdout, `${values.join('\0')}\0${stdin}`, program)
        assert.deepEqual(ran.report, { kind: 'started', pid: ran.pid }, program)
        assert.equal(ran.errors, '')
      }
    }),
    { numRuns: 50 },
  )
})

test('SSH-04: directories with hostile names are entered, and no others', () => {
  for (const name of HOSTILE.filter((text) => text !== '' && !text.includes('/'))) {
    const cwd = name
    const command = commandLine({ ...base, command: 'pwd; printf .', stdin: '', cwd }, BASH)
    const missing = runAs('dash', command)
    const exists = name === '~' || name === '.'
    if (!exists) assert.deepEqual(missing.report, { kind: 'cwd' }, JSON.stringify(name))
    spawnSync('mkdir', ['-p', '--', `${folder}/${name}`])
    for (const program of ['dash', 'bash']) {
      assert.equal(runAs(program, command).stdout, `${folder}/${name}\n.`, JSON.stringify(name))
    }
  }
  assert.deepEqual(runAs('bash', commandLine({ ...base, command: 'pwd', cwd: 'share' }, BASH)).report, { kind: 'cwd' })
})

test('a directory that cannot be entered and a variable that cannot be set stop the command before it starts', () => {
  for (const [program, shell] of [
    ['dash', BASH],
    ['bash', BASH],
    ['tcsh', FISH],
  ] as const) {
    const cwd = runAs(program, commandLine({ ...base, command: 'echo ran', cwd: '/nowhere' }, shell))
    assert.deepEqual([cwd.report, cwd.stdout, cwd.status], [{ kind: 'cwd' }, '', 126], program)
  }
  const env = runAs('bash', commandLine({ ...base, command: 'echo ran', env: { UID: '5' } }, BASH))
  assert.deepEqual([env.report, env.stdout], [{ kind: 'env' }, ''])
})

test('a command cannot forge the report of its own failure', () => {
  const command = `printf '%s cwd\\n' '${base.marker}' >&2; echo ran`
  const ran = runAs('dash', commandLine({ ...base, command, cwd: '/' }, BASH))
  assert.equal(ran.report?.kind, 'started')
  assert.equal(ran.stdout, 'ran\n')
})

test('exit code, standard input and line breaks at the end are those of the command', () => {
  for (const [program, shell] of [
    ['dash', BASH],
    ['bash', BASH],
    ['fish', FISH],
    ['tcsh', FISH],
  ] as const) {
    assert.equal(runAs(program, commandLine({ ...base, command: 'exit 9' }, shell)).status, 9)
    assert.equal(runAs(program, commandLine({ ...base, command: 'cat\n\n', stdin: 'in' }, shell), 'in').stdout, 'in')
    assert.equal(runAs(program, commandLine({ ...base, command: 'cat; echo end' }, shell), 'lost').stdout, 'end\n')
  }
})

test("a line that is too long for a packet goes in through standard input, in front of the command's own", () => {
  const long = `'${'x'.repeat(131_000)}ü'`
  for (const [program, shell] of [
    ['dash', BASH],
    ['bash', BASH],
    ['fish', FISH],
    ['tcsh', FISH],
  ] as const) {
    const made = commandLine({ ...base, command: `printf %s ${long}\ncat`, stdin: 'own input' }, shell)
    assert.ok(Buffer.byteLength(made.line) < MAX_LINE_BYTES)
    assert.ok(made.line.includes(base.marker))
    const ran = runAs(program, made, 'own input')
    assert.equal(ran.stdout, `${long.slice(1, -1)}own input`, program)
    assert.deepEqual(ran.report, { kind: 'started', pid: ran.pid }, program)
  }
  const without = commandLine({ ...base, command: `: ${long}\ncat; echo end` }, BASH)
  assert.equal(runAs('dash', without).stdout, 'end\n')
})

test('NUL and lone surrogates are refused in everything that becomes shell text', () => {
  for (const request of [
    { command: 'a\0b' },
    { command: ':', env: { A: '\0' } },
    { command: ':', cwd: '\0' },
    { command: ':', env: { A: '\udc00' } },
  ]) {
    assert.throws(() => commandLine({ ...base, ...request }, BASH), { code: 'MHV_INPUT_INVALID' })
  }
})
