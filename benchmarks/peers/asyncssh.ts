/** Another peer of `ssh.execute`: asyncssh, the SSH library of Python, in a process of its own that is kept. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { LoadResult } from '../harness/load.ts'
import { type BenchSshd, CIPHER } from '../harness/sshd.ts'
import type { CommandLoad } from './raw-ssh2.ts'

export interface Asyncssh {
  readonly version: string
  /** Opens connections until there are so many. */
  open(count: number): Promise<void>
  load(load: CommandLoad): Promise<LoadResult>
  close(): Promise<void>
}

/** Debian's first: that is where python3-asyncssh is, and another Python may come before it in the PATH. */
const PYTHONS = ['/usr/bin/python3', 'python3']

function pythonWithIt(): string | undefined {
  return PYTHONS.find((python) => spawnSync(python, ['-W', 'ignore', '-c', 'import asyncssh']).status === 0)
}

/** Why it cannot be compared with, and how to get it; undefined where it can. */
export function asyncsshMissing(): string | undefined {
  return pythonWithIt() === undefined ? 'asyncssh is not there: install python3-asyncssh' : undefined
}

export async function startAsyncssh({ host, port, user, identityFile, knownHostsFile }: BenchSshd): Promise<Asyncssh> {
  const python = pythonWithIt()
  if (python === undefined) throw new Error(asyncsshMissing())
  const program = fileURLToPath(new URL('./asyncssh-load.py', import.meta.url))
  const child = spawn(python, ['-W', 'ignore', program], { stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()

  async function answer<T>(): Promise<T> {
    const { value, done } = await lines.next()
    if (done) throw new Error('asyncssh ended before it answered')
    const reply = JSON.parse(value)
    if ('error' in reply) throw new Error(`asyncssh: ${reply.error}`)
    return reply.answer
  }
  function call<T>(method: string, argument: unknown): Promise<T> {
    child.stdin.write(`${JSON.stringify({ method, argument })}\n`)
    return answer()
  }

  return {
    version: await answer<string>(),
    open: (count) => call('open', { count, host, port, user, identityFile, knownHostsFile, cipher: CIPHER }),
    load: (load) => call('load', load),
    async close() {
      child.stdin.end()
      await exited
    },
  }
}
