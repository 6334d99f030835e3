/**
 * The other peer of `ssh.execute`: OpenSSH's own client, one process per command, over connections that are kept open
 * (ControlMaster). xargs starts the processes, which is cheaper than doing it from Node.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pause } from '../harness/process.ts'
import type { BenchSshd } from '../harness/sshd.ts'

export interface OpensshControl {
  /** Runs `echo x` so many times, so many at once, spread over the connections; seconds. */
  load(count: number, concurrency: number): Promise<number>
  close(): Promise<void>
}

const START_MS = 10_000

/** @param folder for the sockets of the masters; its path has to be short (108 bytes with the name) */
export async function startOpensshControl(
  sshd: BenchSshd,
  folder: string,
  connections: number,
): Promise<OpensshControl> {
  const { host, port, user, identityFile, knownHostsFile } = sshd
  const options = [
    '-F',
    'none',
    '-i',
    identityFile,
    '-o',
    'BatchMode=yes',
    '-o',
    `UserKnownHostsFile=${knownHostsFile}`,
  ]
  const destination = ['-p', String(port), '--', `${user}@${host}`]
  const socket = (name: number | string) => join(folder, `m${name}`)

  async function startMaster(name: number): Promise<ChildProcess> {
    const args = [...options, '-N', '-o', 'ControlMaster=yes', '-S', socket(name), ...destination]
    const master = spawn('ssh', args, { stdio: ['ignore', 'ignore', 2] })
    for (const until = performance.now() + START_MS; !existsSync(socket(name)); await pause(10)) {
      if (master.exitCode !== null || performance.now() > until) throw new Error('no ControlMaster came up')
    }
    return master
  }

  const masters: ChildProcess[] = []
  const endAll = () => {
    for (const master of masters) master.kill()
  }
  process.on('exit', endAll)
  for (let name = 0; name < connections; name++) masters.push(await startMaster(name))

  return {
    load(count, concurrency) {
      const args = ['-P', String(concurrency), '-I{}', 'ssh', ...options, '-S', socket('{}'), ...destination, 'echo x']
      const began = performance.now()
      const xargs = spawn('xargs', args, { stdio: ['pipe', 'pipe', 'inherit'] })
      let printed = ''
      xargs.stdout.on('data', (bytes: Buffer) => {
        printed += bytes
      })
      xargs.stdin.end(Array.from({ length: count }, (_each, index) => `${index % connections}\n`).join(''))
      return new Promise((resolve, reject) => {
        xargs.once('error', reject)
        xargs.once('close', (code) => {
          const seconds = (performance.now() - began) / 1000
          if (code === 0 && printed === 'x\n'.repeat(count)) resolve(seconds)
          else reject(new Error(`xargs ended with ${code} after ${printed.length / 2} of ${count} commands`))
        })
      })
    },
    async close() {
      const ended = masters.map((master) => new Promise((resolve) => master.once('exit', resolve)))
      endAll()
      await Promise.all(ended)
      process.off('exit', endAll)
    },
  }
}
