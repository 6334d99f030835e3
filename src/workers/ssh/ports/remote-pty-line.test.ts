import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { terminalLine } from './remote-pty-line.ts'
import { TERMINAL_REPORT, terminalScript } from './remote-pty-script.ts'

const MARKER = 'mahavishnu-0'
const shell = (path: string, posix = true) => ({ path, posix, sh: true })

test('a line says which process it is, and then is the command', () => {
  const line = terminalLine('exec echo "$0 $$"', shell('/bin/sh'), MARKER) as string
  for (const program of ['dash', 'bash']) {
    const { stdout } = spawnSync(program, ['-c', line, 'me'], { encoding: 'utf8' })
    assert.match(stdout, /^mahavishnu-0 ([0-9]+)\nme \1\n$/, program)
  }
})

test('an account of another kind of shell gets the same by /bin/sh', () => {
  const line = terminalLine('exec echo "it\'s"', shell('/usr/bin/fish', false), MARKER) as string
  assert.match(line, /^exec \/bin\/sh -c /)
  assert.match(spawnSync('sh', ['-c', line], { encoding: 'utf8' }).stdout, /^mahavishnu-0 [0-9]+\nit's\n$/)
})

test('a login shell that is not known is started by the request of SSH, and so is all of an account without commands', () => {
  assert.equal(terminalLine(undefined, shell('/opt/menu'), MARKER), undefined)
  assert.equal(terminalLine(undefined, shell('/bin/rbash'), MARKER), undefined)
  assert.equal(terminalLine(undefined, { path: '', posix: false, sh: false }, MARKER), undefined)
  const refusal = Object.assign(new Error('no'), { code: 'MHV_SSH_SHELL_UNSUPPORTED' }) as never
  assert.equal(terminalLine('top', { ...shell('/bin/sh'), refusal }, MARKER), 'top')
  assert.match(terminalLine(undefined, shell('/bin/zsh'), MARKER) ?? '', /\nexec "\$SHELL" -l$/)
})

for (const program of [['dash'], ['bash'], ['busybox', 'sh'], ['ksh']] as const) {
  const [file, ...args] = program
  const skip = spawnSync(file, [...args, '-c', ':']).error === undefined ? false : `${file} is not installed`
  test(`a process that is not of this connection is left alone, whatever is asked (${file})`, { skip }, () => {
    for (const question of [{ kind: 'signal', name: 'KILL' }, { kind: 'echo' }, { kind: 'end', grace: 0.1 }] as const) {
      // The parent of the script is this process, which is not its own parent.
      const script = terminalScript(process.pid, question)
      const { stdout, stderr } = spawnSync(file, [...args, '-c', script], { encoding: 'utf8' })
      assert.deepEqual([stdout, stderr], [`${TERMINAL_REPORT} foreign\n`, ''], question.kind)
    }
  })
}
