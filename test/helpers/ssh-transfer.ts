import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { z } from 'zod'
import type { SshSettings, SshTarget } from '../../src/workers/ssh/settings.ts'
import { sftpTransfer, type TransferData } from '../../src/workers/ssh/transfer/transfer.ts'
import { operationContext, startWorker, type TestRun, type TestWorker, targetOf } from './ssh-context.ts'
import type { Sshd } from './sshd.ts'

export type TransferRequest = Omit<z.input<typeof sftpTransfer.input>, 'files'> & {
  readonly files: readonly { readonly local: string; readonly remote: string }[]
}

/** A worker with two folders: `local` is its only root, `remote` is what the host has. */
export interface TransferPlace extends AsyncDisposable {
  readonly worker: TestWorker
  readonly target: SshTarget
  readonly local: string
  readonly remote: string
  context(options?: { timeoutMs?: number }): TestRun
  run(request: TransferRequest, context?: TestRun): Promise<TransferData>
}

export async function transferPlace(
  sshd: Sshd,
  options: {
    readonly target?: Partial<SshTarget>
    readonly settings?: Partial<SshSettings>
    readonly remote?: string
    readonly local?: string
    /** Folder of an instance that goes on with what another process of it has left. */
    readonly instance?: string
  } = {},
): Promise<TransferPlace> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-transfer-'))
  const local = options.local ?? join(folder, 'local')
  const remote = options.remote ?? join(folder, 'remote')
  await Promise.all([local, remote].map((path) => mkdir(path, { recursive: true })))
  const worker = await startWorker({
    settings: { local_roots: [local], ...options.settings },
    ...(options.instance === undefined ? {} : { folder: options.instance }),
  })
  const target = targetOf(sshd, options.target)
  const context: TransferPlace['context'] = (more = {}) => operationContext(worker, target, more)
  return {
    worker,
    target,
    local,
    remote,
    context,
    async run(request, ctx = context()) {
      const data = await sftpTransfer.run(ctx, sftpTransfer.input.parse(request))
      return sftpTransfer.output.parse(data)
    },
    async [Symbol.asyncDispose]() {
      await worker.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** Names in a folder that a transfer has left unfinished. */
export async function leftovers(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.includes('.mahavishnu-'))
}
