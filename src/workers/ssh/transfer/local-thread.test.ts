import assert from 'node:assert/strict'
import fs from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { suite, type TestContext, test } from 'node:test'
import { perform } from './local-thread.ts'

/** Lets a call of `fs` fail as the system would, after it was made. */
function failing(t: TestContext, name: 'closeSync' | 'fchmodSync', code: string): void {
  const real = fs[name] as (...args: unknown[]) => void
  t.mock.method(fs, name, (...args: unknown[]) => {
    real(...args)
    throw Object.assign(new Error(`${code}: ${name}`), { code })
  })
  syncBuiltinESMExports()
}

suite('a small file that is written', () => {
  for (const [name, code] of [
    ['closeSync', 'ENOSPC'],
    ['closeSync', 'EIO'],
    ['fchmodSync', 'EPERM'],
  ] as const) {
    test(`is removed where ${name} fails with ${code}, and that is the answer`, async (t) => {
      const folder = await mkdtemp(join(tmpdir(), 'mhv-thread-'))
      try {
        failing(t, name, code)
        const path = join(folder, 'f')
        const task = { kind: 'write', path, bytes: Buffer.from('x'), mode: 0o644, mtime: undefined } as const
        const answer = perform({ ...task, hash: false, open: false })
        t.mock.restoreAll()
        syncBuiltinESMExports()
        assert.ok('code' in answer && answer.code === code, JSON.stringify(answer))
        assert.deepEqual(await readdir(folder), [])
      } finally {
        t.mock.restoreAll()
        syncBuiltinESMExports()
        await rm(folder, { recursive: true })
      }
    })
  }
})
