import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseProbe, probeLine, wrapForAnyShell } from './login-shell.ts'
import { shellQuote } from './shell-quote.ts'

const has = (program: string) => spawnSync(program, ['-c', 'exit 0']).error === undefined
const OTHER_SHELLS = ['fish', 'tcsh', 'csh'].filter(has)
const ALL_SHELLS = ['dash', 'bash', ...OTHER_SHELLS]
const skip = OTHER_SHELLS.length === 0 ? 'neither fish nor tcsh is installed' : false

test('every kind of login shell answers the probe', () => {
  for (const shell of ALL_SHELLS) {
    const stdout = execFileSync(shell, ['-c', probeLine('mark-1')], {
      encoding: 'utf8',
      env: { SHELL: `/usr/bin/${shell}`, SHLVL: '3' },
    })
    const posix = shell === 'dash' || shell === 'bash'
    assert.deepEqual(parseProbe('mark-1', stdout), { path: `/usr/bin/${shell}`, posix, sh: true }, shell)
  }
})

test('a probe among the words of a profile is found; an account that runs nothing is seen', () => {
  assert.deepEqual(parseProbe('m', 'Welcome!\nm /bin/zsh\nm + yes\n'), { path: '/bin/zsh', posix: true, sh: true })
  assert.deepEqual(parseProbe('m', 'm /bin/bash\n'), { path: '/bin/bash', posix: true, sh: false })
  assert.deepEqual(parseProbe('m', 'm /usr/bin/fish\nm + yes\n')?.posix, false)
  assert.equal(parseProbe('m', 'm /usr/bin/fish\n'), undefined)
  assert.equal(parseProbe('m', 'This account is currently not available.\n'), undefined)
  assert.equal(parseProbe('m', ''), undefined)
})

test('SSH-04: a script reaches /bin/sh unharmed through shells that are not POSIX', { skip }, () => {
  const script = [
    `printf '%s\\0' 'it'\\''s' "a\\\\b" 'x!y' '!!' 'é`,
    `ü' '$HOME' '%s' '\\\\n' '^a^b' '#' '~' '{a,b}' '*'`,
    'cat <<EOF',
    'here `echo doc` $((1+1))',
    'EOF',
    '',
  ].join('\n')
  const expected = execFileSync('/bin/sh', ['-c', script])
  for (const shell of ALL_SHELLS) {
    assert.deepEqual(execFileSync(shell, ['-c', wrapForAnyShell(script)]), expected, shell)
  }
})

test('SSH-04: any script reaches /bin/sh unharmed (property)', { skip }, () => {
  const text = fc.string({ unit: 'binary', maxLength: 60 }).map((value) => value.replaceAll('\0', ''))
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 8 }), (values) => {
      const line = wrapForAnyShell(`printf '%s\\0' ${values.map(shellQuote).join(' ')}`)
      for (const shell of OTHER_SHELLS) {
        assert.deepEqual(
          execFileSync(shell, ['-c', line]),
          Buffer.from(values.map((value) => `${value}\0`).join('')),
          shell,
        )
      }
    }),
    { numRuns: 60 },
  )
})

test('line breaks at the end of a script are kept, its PID and exit code are those of the shell', () => {
  for (const shell of ALL_SHELLS) {
    const line = wrapForAnyShell("printf '%s' 'end\n\n'\nexit 7\n\n")
    const { stdout, status } = spawnSync(shell, ['-c', line], { encoding: 'utf8' })
    assert.deepEqual({ stdout, status }, { stdout: 'end\n\n', status: 7 }, shell)
    const child = spawnSync(shell, ['-c', wrapForAnyShell('echo $$')], { encoding: 'utf8' })
    assert.equal(Number(child.stdout), child.pid, shell)
  }
})
