import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { inRoot } from '../../scripts/lib/paths.ts'
import { findOlderNode, noOlderNode } from './older-node.ts'

const olderNode = findOlderNode()

/** An installation of its own, so that it does not matter whether the checkout is built. */
const folder = mkdtempSync(join(tmpdir(), 'mahavishnu-bin-'))
mkdirSync(join(folder, 'bin'))
copyFileSync(inRoot('bin/mahavishnu.cjs'), join(folder, 'bin/mahavishnu.cjs'))
writeFileSync(join(folder, 'package.json'), JSON.stringify({ version: '1.2.3', type: 'module' }))
after(() => rmSync(folder, { recursive: true }))

function mahavishnu(node: string, ...args: string[]) {
  return spawnSync(node, [join(folder, 'bin/mahavishnu.cjs'), ...args], { encoding: 'utf8' })
}

describe('bin/mahavishnu.cjs', () => {
  test('TOOL-02: says what to do under a Node that is too old', { skip: olderNode ? false : noOlderNode }, () => {
    const { status, stdout, stderr } = mahavishnu(olderNode ?? '', 'workers', 'list')
    assert.equal(status, 78)
    assert.equal(stdout, '')
    assert.match(stderr, /needs Node 24 or later, this is \d+\.\d+/)
    assert.match(stderr, /npm run quickstart/)
  })

  test('TOOL-02: a build that is missing is no stack trace', () => {
    const { status, stderr } = mahavishnu(process.execPath, 'workers', 'list')
    assert.equal(status, 78)
    assert.match(stderr, /not built: run "npm run build"/)
    assert.doesNotMatch(stderr, /^ {4}at /m)
  })

  test('prints the version without loading the program', () => {
    const { status, stdout } = mahavishnu(process.execPath, '--version')
    assert.equal(status, 0)
    assert.equal(stdout, '1.2.3\n')
  })

  test('starts the built program with its arguments and keeps its exit code', () => {
    mkdirSync(join(folder, 'dist'))
    writeFileSync(join(folder, 'dist/bin.js'), 'console.log(process.argv.slice(2).join(" ")); process.exitCode = 3\n')
    const { status, stdout } = mahavishnu(process.execPath, 'run', '--version')
    assert.equal(stdout, 'run --version\n')
    assert.equal(status, 3)
    rmSync(join(folder, 'dist'), { recursive: true })
  })

  test('is what package.json names, and packed', () => {
    const manifest = JSON.parse(readFileSync(inRoot('package.json'), 'utf8'))
    assert.equal(manifest.bin.mahavishnu, 'bin/mahavishnu.cjs')
    assert.ok(manifest.files.includes('bin'))
  })
})
