import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'node:test'
import { settled } from '../../../../test/helpers/ssh-fake-pool.ts'
import type { PoolCall, SshPool } from '../pool.ts'
import { runScript } from './run-script.ts'

/** A channel that says what it is told to, and nothing else. */
class EndlessChannel extends EventEmitter {
  readonly stderr = Object.assign(new EventEmitter(), { resume: () => undefined })
  closed = false
  end() {}
  resume() {}
  close() {
    this.closed = true
  }
}

test('a host that answers without end is cut off, and its answer is none', async () => {
  for (const stream of ['stdout', 'stderr'] as const) {
    const channel = new EndlessChannel()
    const connection = { endpoint: 'fake:22', wasCut: () => false, exitOf: () => ({ code: 0, signal: null }) }
    const lease = { connection, shell: { posix: true }, exec: async () => channel, retryDelay: () => undefined }
    const pool = { acquire: () => lease } as unknown as SshPool
    const call = { signal: new AbortController().signal } as PoolCall
    const asked = runScript(pool, call, 'm', () => 'script')
    asked.catch(() => undefined)
    await settled()
    const from = stream === 'stdout' ? channel : channel.stderr
    for (let n = 0; n < 32; n++) from.emit('data', Buffer.alloc(256 * 1024))
    await settled()
    assert.equal(channel.closed, true)
    assert.equal(from.listenerCount('data'), 0, 'nothing more is kept')
    await assert.rejects(asked, { code: 'MHV_SSH_COMMAND_UNCONFIRMED' })
  }
})
