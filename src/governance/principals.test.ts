import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { localPrincipal } from './principals.ts'

test('whoever runs the process is named by the number of the system user', () => {
  assert.deepEqual(localPrincipal(), { id: `user:${process.getuid?.()}`, kind: 'user' })
})

test('a user without a name, as containers have them, is no problem', { skip: process.getuid?.() !== 0 }, () => {
  const program = `
    import { localPrincipal } from ${JSON.stringify(join(import.meta.dirname, 'principals.ts'))}
    process.setuid(54321)
    process.stdout.write(localPrincipal().id)`
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
  assert.equal(stdout, 'user:54321', stderr)
})
