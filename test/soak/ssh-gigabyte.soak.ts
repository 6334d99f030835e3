import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { after, before, suite, test } from 'node:test'
import { createInstances } from '../../src/app.ts'
import { sshInstance } from '../helpers/ssh-instance.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

const BYTES = 1024 ** 3
/** What the process may grow by, in bytes: what is in flight and what is kept, far from the gigabyte. */
const MAX_GROWTH = 120 * 1024 ** 2

suite('1 GB of output is bounded', { skip: sshdMissing() ?? false }, () => {
  let sshd: Sshd
  before(async () => {
    sshd = await startSshd()
  })
  after(() => sshd.stop())

  test('memory stays flat, head and tail are kept, the middle is counted', async () => {
    const folder = await sshInstance(sshd)
    const instance = await createInstances().open({ folder, doing: 'soak' })
    const run = (command: string) =>
      instance.invoke({
        operation: 'ssh.execute',
        input: { command },
        envelope: { target: 'box', wait: 600, timeout: 600 },
        principal: instance.principal,
        surface: 'embedded',
      })
    await run('true')
    const before = process.memoryUsage.rss()
    let highest = before
    const watch = setInterval(() => {
      highest = Math.max(highest, process.memoryUsage.rss())
    }, 20)
    const result = await run(`printf first; head -c ${BYTES} /dev/zero; printf last`)
    clearInterval(watch)
    assert.equal(result.status, 'completed', result.error ?? '')
    const data = result.data as { stdout_bytes: number; truncated: boolean }
    assert.equal(data.stdout_bytes, BYTES + 9)
    assert.equal(data.truncated, true)
    // Not `match`: it would print all of it.
    assert.ok(result.output?.startsWith('first'))
    assert.ok(result.output?.endsWith('last'))
    console.log(`grew by ${Math.round((highest - before) / 1024 ** 2)} MiB in ${result.duration_seconds} s`)
    assert.ok(highest - before < MAX_GROWTH, `grew by ${highest - before} bytes`)
    await instance.close()
    await rm(folder, { recursive: true, force: true })
  })
})
