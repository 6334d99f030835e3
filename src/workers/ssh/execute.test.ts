import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { test } from 'node:test'
import { createRegistry } from '../../core/registry.ts'
import { workers } from '../index.ts'
import { execute } from './execute.ts'

const accepts = (input: object) => execute.input.safeParse(input).success

test('the declaration fits the registry', () => {
  assert.equal(createRegistry(workers).operation('ssh.execute').spec, execute)
  assert.equal(execute.effectOf?.({ command: 'ls' }), 'write')
  assert.equal(typeof execute.timeout === 'function' && execute.timeout({ command_timeout: 7 }), 7)
})

test('what cannot be passed on is refused before anything is done', () => {
  for (const input of [
    {},
    { command: '' },
    { command: 'a\0b' },
    { command: '\ud800' },
    { command: 'x'.repeat(131_073) },
    { command: ':', cwd: '' },
    { command: ':', cwd: '~/app' },
    { command: ':', cwd: 'a\0' },
    { command: ':', stdin: '\udfff' },
    { command: ':', env: { '': 'x' } },
    { command: ':', env: { '1A': 'x' } },
    { command: ':', env: { 'A=B': 'x' } },
    { command: ':', env: { 'A\n': 'x' } },
    { command: ':', env: { A: 'a\0' } },
    { command: ':', env: { A: 'x'.repeat(32_769) } },
    { command: ':', env: { UID: '0' } },
    { command: ':', env: { MAHAVISHNU_RUN_ID: 'x' } },
  ]) {
    assert.equal(accepts(input), false, JSON.stringify(input).slice(0, 60))
  }
  for (const input of [
    { command: 'x'.repeat(131_072) },
    { command: '-rf' },
    { command: ':', cwd: '-', stdin: 'a\0b', env: { A: '', _B2: "'\n" } },
  ]) {
    assert.equal(accepts(input), true, JSON.stringify(input).slice(0, 60))
  }
})

test('people see standard output and the exit code', () => {
  const data = {
    stdout: 'a\n',
    stderr: 'b\n',
    exit_code: 3,
    signal: null,
    stdout_bytes: 2,
    stderr_bytes: 2,
    truncated: false,
    utf8: true,
    pid: 5,
  }
  assert.deepEqual(execute.summarize?.(execute.output.parse(data)), { output: 'a\n', exit_code: 3 })
})

test('the declaration loads without ssh2: it is imported at every start', () => {
  const program = `
    await import(${JSON.stringify(new URL('./index.ts', import.meta.url).href)})
    const { createRequire } = await import('node:module')
    console.log(Object.keys(createRequire('/').cache).filter((path) => path.includes('ssh2')).length)`
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
  assert.equal(stdout, '0\n')
})
