/**
 * The peer of a command on many hosts at once: `ansible all -m raw`. It keeps its connections between two runs
 * (ControlPersist), but not itself: each run starts Python anew.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ADDRESSES, type BenchSshd, CIPHER } from '../harness/sshd.ts'

export interface Ansible {
  /** As it tells it: `core 2.14.18`. */
  readonly version: string
  /** Runs a command without output on every host at once; seconds. The first run opens the connections. */
  run(command: string): Promise<number>
  /** Ends the kept connections. */
  close(): void
}

export function ansibleMissing(): string | undefined {
  return versionOf() === undefined ? 'ansible is not there: install ansible-core' : undefined
}

function versionOf(): string | undefined {
  const { stdout } = spawnSync('ansible', ['--version'], { encoding: 'utf8' })
  return /\[(.+?)\]/.exec(stdout ?? '')?.[1]
}

/** @param folder for its settings and sockets; its path has to be short (108 bytes with a socket's name) */
export function prepareAnsible({ host, port, user, identityFile, knownHostsFile }: BenchSshd, folder: string): Ansible {
  const own = join(folder, 'ansible')
  const sockets = join(folder, 'cp')
  for (const each of [own, sockets]) mkdirSync(each)
  const write = (name: string, lines: readonly string[]) => writeFileSync(join(own, name), `${lines.join('\n')}\n`)
  write('hosts', [
    ...ADDRESSES.map((address) => `${address} ansible_port=${port}`),
    '[all:vars]',
    `ansible_user=${user}`,
    `ansible_ssh_private_key_file=${identityFile}`,
  ])
  const options = ['BatchMode=yes', `UserKnownHostsFile=${knownHostsFile}`, `HostKeyAlias=[${host}]:${port}`]
  const kept = ['ControlMaster=auto', 'ControlPersist=60s', `Ciphers=${CIPHER}`]
  write('ansible.cfg', [
    '[defaults]',
    `inventory = ${join(own, 'hosts')}`,
    `forks = ${ADDRESSES.length}`,
    `home = ${own}`,
    `local_tmp = ${join(own, 'tmp')}`,
    '[ssh_connection]',
    `ssh_args = -F none ${[...kept, ...options].map((option) => `-o ${option}`).join(' ')}`,
    `control_path_dir = ${sockets}`,
  ])
  const env = { ...process.env, ANSIBLE_CONFIG: join(own, 'ansible.cfg') }

  return {
    version: versionOf() ?? 'unknown',
    run(command) {
      const began = performance.now()
      const child = spawn('ansible', ['all', '-m', 'raw', '-a', command], { env, stdio: ['ignore', 'pipe', 'inherit'] })
      let printed = ''
      child.stdout.on('data', (bytes: Buffer) => {
        printed += bytes
      })
      return new Promise((resolve, reject) => {
        child.once('error', reject)
        child.once('close', (code) => {
          const seconds = (performance.now() - began) / 1000
          const done = printed.match(/ \| CHANGED \| rc=0 /g)?.length
          if (code === 0 && done === ADDRESSES.length) resolve(seconds)
          else reject(new Error(`ansible ended with ${code}, ${done ?? 0} of ${ADDRESSES.length} hosts: ${printed}`))
        })
      })
    },
    close() {
      for (const socket of readdirSync(sockets)) {
        spawnSync('ssh', ['-F', 'none', '-S', join(sockets, socket), '-O', 'exit', 'any'], { stdio: 'ignore' })
      }
    },
  }
}
