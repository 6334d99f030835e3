import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, suite, test } from 'node:test'
import { createCgroup } from './cgroup.ts'

/** Against a folder that stands for the kernel's: it makes no files in a new group, so `make` puts them there before. */

let root: string
const LIMITS = { memory_bytes: 1_048_576, cpu_percent: 150 }

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'mhv-cgroup-'))
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

function membership(text: string): string {
  const file = join(root, 'membership')
  writeFileSync(file, text)
  return file
}

suite('control groups', () => {
  test('none without version 2, without permission, or where the controllers are not delegated', () => {
    assert.equal(createCgroup('w', LIMITS, { root, membership: join(root, 'missing') }), null)
    assert.equal(createCgroup('w', LIMITS, { root, membership: membership('4:memory:/x\n') }), null)
    assert.equal(createCgroup('w', LIMITS, { root, membership: membership('0::/not/there\n') }), null)
    mkdirSync(join(root, 'own'))
    // The group can be made, but the kernel gives it no memory.max.
    assert.equal(createCgroup('w', LIMITS, { root, membership: membership('0::/own\n') }), null)
    assert.equal(existsSync(join(root, 'own', 'w')), false)
  })

  test('what lies beside a unit of systemd is left alone', () => {
    mkdirSync(join(root, 'system.slice', 'mahavishnu.service'), { recursive: true })
    const tried = membership('0::/system.slice/mahavishnu.service\n')
    assert.equal(createCgroup('w', LIMITS, { root, membership: tried }), null)
    assert.equal(existsSync(join(root, 'system.slice', 'cgroup.subtree_control')), false)
  })

  test('the limits are those that are asked for, and a kill for memory is told', () => {
    const fs = join(root, 'own')
    mkdirSync(fs)
    // As the kernel: a new group has its files at once.
    const files = ['memory.max', 'memory.swap.max', 'cpu.max', 'cgroup.procs']
    const group = createCgroup('w', LIMITS, {
      root,
      membership: membership('0::/own\n'),
      make(folder) {
        mkdirSync(folder)
        for (const file of files) writeFileSync(join(folder, file), '')
      },
    })
    assert.ok(group)
    group.add(42)
    const written = files.map((file) => readFileSync(join(fs, 'w', file), 'utf8'))
    assert.deepEqual(written, ['1048576', '0', '150000 100000', '42'])
    assert.equal(group.outOfMemoryKills(), 0)
    writeFileSync(join(fs, 'w', 'memory.events'), 'low 0\noom 1\noom_kill 2\n')
    assert.equal(group.outOfMemoryKills(), 2)
  })
})
