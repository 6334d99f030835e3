import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { suite, test } from 'node:test'
import type { ServerChannel, Session } from 'ssh2'
import { systemClock } from '../../src/core/clock.ts'
import { mhvError, toMhvError } from '../../src/core/errors.ts'
import { statPath } from '../../src/workers/ssh/files/remote-operations.ts'
import type { PoolCall, SshPool } from '../../src/workers/ssh/pool.ts'
import type { SshContext } from '../../src/workers/ssh/run-command.ts'
import { sshTarget } from '../../src/workers/ssh/settings.ts'
import { hashRemote } from '../../src/workers/ssh/transfer/remote-hash.ts'
import { sftpTransfer, type TransferInput } from '../../src/workers/ssh/transfer/transfer.ts'
import { hostileKnownHosts, hostileSsh, runHonestly } from '../helpers/hostile-ssh.ts'
import { operationContext, startWorker } from '../helpers/ssh-context.ts'

/** A host that takes what it is asked and then says nothing more, while its connection is alive. */

suite('SSH-11: a host that never says that it has an SFTP session', () => {
  const asks: Readonly<Record<string, (ctx: SshContext) => Promise<unknown>>> = {
    'a look at a file': (ctx) => statPath(ctx, { path: 'f', follow: true }),
    'an upload': (ctx) => {
      const files = [{ local: 'f', remote: 'f' }]
      const input = sftpTransfer.input.parse({ direction: 'upload', verify: 'size', files }) as TransferInput
      return sftpTransfer.run(ctx, input)
    },
  }
  for (const [what, ask] of Object.entries(asks)) {
    test(`${what} ends at its deadline`, { timeout: 20_000 }, async () => {
      const folder = await mkdtemp(join(tmpdir(), 'mhv-silence-'))
      const sessions: unknown[] = []
      const server = await hostileSsh({
        session: (accept, _, connection) => {
          const session = accept() as Session
          // Without this listener ssh2 takes the request, and does nothing more.
          session.on('subsystem' as never, (acceptSubsystem: () => ServerChannel) => sessions.push(acceptSubsystem()))
          session.on('exec', (acceptExec, _, { command }) => runHonestly({ connection, command, accept: acceptExec }))
        },
      })
      await writeFile(join(folder, 'known_hosts'), hostileKnownHosts([server.port]))
      await writeFile(join(folder, 'f'), 'content')
      const worker = await startWorker({ secrets: { PASSWORD: 'x' }, settings: { local_roots: [folder] } })
      try {
        const target = sshTarget.parse({
          host: '127.0.0.1',
          port: server.port,
          user: 'anybody',
          password: 'env:PASSWORD',
          known_hosts: [join(folder, 'known_hosts')],
        })
        const began = performance.now()
        const ended = ask(operationContext(worker, target, { timeoutMs: 1_500 }))
        await assert.rejects(ended, (error) => /^MHV_RUN_/.test(toMhvError(error).code))
        const took = performance.now() - began
        assert.ok(took > 1_000 && took < 5_000, `${took} ms`)
        assert.equal(sessions.length, 1, 'it was asked')
      } finally {
        await worker.close()
        await server.close()
        await rm(folder, { recursive: true, force: true })
      }
    })
  }
})

test('SSH-11: a digest is not waited for when the run was ended while its channel was opened', {
  timeout: 10_000,
}, async () => {
  const run = new AbortController()
  const channel = new PassThrough({ autoDestroy: false, emitClose: false }) as PassThrough & {
    stderr: PassThrough
    close(): void
  }
  channel.stderr = new PassThrough()
  // The host never confirms it.
  channel.close = () => undefined
  const pool = {
    clock: systemClock,
    acquire: async () => ({
      shell: { posix: true },
      retryDelay: () => undefined,
      async exec() {
        run.abort(mhvError('MHV_RUN_CANCELLED', 'enough'))
        return channel
      },
    }),
  }
  const call = { signal: run.signal } as PoolCall
  await assert.rejects(hashRemote(pool as unknown as SshPool, call, ['f']), { code: 'MHV_RUN_CANCELLED' })
})
