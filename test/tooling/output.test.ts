import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parseOutputArguments } from '../../scripts/lib/output.ts'

const module = JSON.stringify(join(import.meta.dirname, '../../scripts/lib/output.ts'))

/** A script that says something, then ends its output. */
function script(args: readonly string[]) {
  const code = `
    const { createOutput } = await import(${module})
    const output = createOutput(process.argv.slice(1))
    output.say('working')
    output.finish({ args: output.args, long: 'x'.repeat(200_000) }, '1 passed')
    process.exit(0)`
  return spawnSync(process.execPath, ['--input-type=module', '-e', code, '--', ...args], { encoding: 'utf8' })
}

describe('output of scripts', () => {
  test('takes --json out of the arguments and leaves what stands behind --', () => {
    assert.deepEqual(parseOutputArguments(['a', '--json', 'b']), { json: true, rest: ['a', 'b'] })
    assert.deepEqual(parseOutputArguments(['--json=x.json']), { json: 'x.json', rest: [] })
    assert.deepEqual(parseOutputArguments(['a', '--', '--json']), { json: false, rest: ['a', '--', '--json'] })
    assert.throws(() => parseOutputArguments(['--json=']), /file name/)
  })

  test('writes text and the closing line to stdout without --json', () => {
    const { stdout, stderr } = script(['a'])
    assert.equal(stdout, 'working\n1 passed\n')
    assert.equal(stderr, '')
  })

  test('writes one whole JSON line to stdout with --json, even before process.exit, and text to stderr', () => {
    const { stdout, stderr } = script(['--json', 'a'])
    const lines = stdout.trimEnd().split('\n')
    assert.equal(lines.length, 1)
    const document = JSON.parse(lines[0] ?? '')
    assert.deepEqual(document.args, ['a'])
    assert.equal(document.long.length, 200_000)
    assert.match(stderr, /working\n1 passed\n$/)
  })

  test('writes the document to a file, in a folder it makes, with --json=FILE', () => {
    const folder = mkdtempSync(join(tmpdir(), 'mahavishnu-output-'))
    const file = join(folder, 'new/result.json')
    const { stdout } = script([`--json=${file}`])
    assert.equal(stdout, 'working\n1 passed\n')
    assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')).args, [])
    rmSync(folder, { recursive: true })
  })
})
