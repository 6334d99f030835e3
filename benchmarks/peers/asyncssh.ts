/** Another peer of `ssh.execute`: asyncssh, the SSH library of Python, in a process of its own that is kept. */
import { fileURLToPath } from 'node:url'
import type { LoadResult } from '../harness/load.ts'
import { type BenchSshd, CIPHER } from '../harness/sshd.ts'
import { pythonWith, startPython } from './python.ts'
import type { CommandLoad } from './raw-ssh2.ts'

export interface Asyncssh {
  readonly version: string
  /** Opens connections until there are so many. */
  open(count: number): Promise<void>
  load(load: CommandLoad): Promise<LoadResult>
  close(): Promise<void>
}

/** Why it cannot be compared with, and how to get it; undefined where it can. */
export function asyncsshMissing(): string | undefined {
  return pythonWith('asyncssh') === undefined ? 'asyncssh is not there: install python3-asyncssh' : undefined
}

export async function startAsyncssh({ host, port, user, identityFile, knownHostsFile }: BenchSshd): Promise<Asyncssh> {
  const python = pythonWith('asyncssh')
  if (python === undefined) throw new Error(asyncsshMissing())
  const program = fileURLToPath(new URL('./asyncssh-load.py', import.meta.url))
  const peer = await startPython(python, program, 'asyncssh')
  return {
    version: peer.version,
    open: (count) => peer.call('open', { count, host, port, user, identityFile, knownHostsFile, cipher: CIPHER }),
    load: (load) => peer.call('load', load),
    close: () => peer.close(),
  }
}
