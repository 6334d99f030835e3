import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { exitOnSignals, until } from './processes.ts'

const run = promisify(execFile)

export interface SshAgent {
  readonly socket: string
  add(key: string): Promise<void>
  stop(): Promise<void>
}

/** An ssh-agent of its own, without keys. */
export async function startSshAgent(): Promise<SshAgent> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-agent-'))
  const socket = join(folder, 'socket')
  const child = spawn('ssh-agent', ['-D', '-a', socket], { stdio: 'ignore' })
  const endAtExit = () => child.kill('SIGTERM')
  process.once('exit', endAtExit)
  exitOnSignals()
  if (!(await until(() => existsSync(socket)))) throw new Error('ssh-agent did not start')
  return {
    socket,
    async add(key) {
      await run('ssh-add', ['-q', key], { env: { ...process.env, SSH_AUTH_SOCK: socket } })
    },
    async stop() {
      const exited = once(child, 'exit')
      child.kill('SIGTERM')
      await exited
      process.removeListener('exit', endAtExit)
      await rm(folder, { recursive: true, force: true })
    },
  }
}
