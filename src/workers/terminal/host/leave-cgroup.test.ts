import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { leaveWorkerCgroup } from './leave-cgroup.ts'

for (const [group, left] of [
  ['/service/mahavishnu-terminal-77-1', true],
  ['/service', false],
  ['/service/mahavishnu-terminals', false],
] as const) {
  test(`the control group ${group} is ${left ? 'left' : 'not left'}`, async () => {
    const root = await mkdtemp(join(tmpdir(), 'mahavishnu-cgroup-'))
    try {
      await mkdir(join(root, group), { recursive: true })
      await writeFile(join(root, 'membership'), `12:pids:/x\n0::${group}\n`)
      for (const place of ['', '/service']) await writeFile(join(root, place, 'cgroup.procs'), '')
      leaveWorkerCgroup({ root, membership: join(root, 'membership'), pid: 4711 })
      assert.equal(await readFile(join(root, 'service/cgroup.procs'), 'utf8'), left ? '4711' : '')
    } finally {
      await rm(root, { recursive: true, force: true })
    }
  })
}

test('without control groups there is nothing to leave', () => {
  leaveWorkerCgroup({ membership: '/nonexistent' })
})
