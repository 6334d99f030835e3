import { execFile, spawn } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { childrenOf, endAll, exitOnSignals } from './processes.ts'

const run = promisify(execFile)

/** Debian's; sshd wants to be called by its full path, since it starts itself again. */
const SSHD = '/usr/sbin/sshd'

export type KeyType = 'ed25519' | 'rsa' | 'ecdsa'

export interface SshdOptions {
  readonly hostKeyTypes?: readonly KeyType[]
  readonly maxSessions?: number
  /** Lines added to sshd_config, before what is set here: sshd takes the first of each. */
  readonly config?: readonly string[]
  /** Program that serves SFTP; false for none. Default: sshd itself. */
  readonly sftp?: string | false
  /** Port to listen on; a free one otherwise. */
  readonly port?: number
  /** Keep the folder of an earlier server, with its keys, for one that comes back. */
  readonly folder?: string
}

/** An sshd of its own on a loopback port, with its own keys; the key in `userKey` may log in as the current user. */
export interface Sshd {
  readonly host: '127.0.0.1'
  readonly port: number
  readonly pid: number
  readonly folder: string
  readonly user: string
  /** Path of a private key that the server takes. */
  readonly userKey: string
  /** Lines for known_hosts, one for each host key. */
  readonly knownHosts: string
  /** File with these lines. */
  readonly knownHostsFile: string
  hostKey(type: KeyType): string
  /** PIDs of the processes that serve its connections. */
  connections(): number[]
  log(): Promise<string>
  /** Ends the server, its connections and what runs under them; the folder goes too, unless it is kept. */
  stop(keepFolder?: boolean): Promise<void>
}

/** Why there can be no sshd here; undefined when there can. To be given to `skip`. */
export function sshdMissing(): string | undefined {
  if (process.platform !== 'linux') return 'the sshd of the tests is started on Linux only'
  return process.getuid?.() === 0 ? undefined : 'needs root: sshd must be able to log users in'
}

export async function startSshd(options: SshdOptions = {}): Promise<Sshd> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'mhv-sshd-')))
  const types = options.hostKeyTypes ?? ['ed25519']
  const port = options.port ?? (await freePort())
  const hostKey = (type: KeyType) => join(folder, `host_${type}`)
  const userKey = join(folder, 'user_key')
  mkdirSync('/run/sshd', { recursive: true })
  await chmod(folder, 0o755)
  if (options.folder === undefined) {
    await Promise.all([...types.map((type) => makeKey(hostKey(type), type)), makeKey(userKey, 'ed25519')])
    await writeFile(join(folder, 'authorized_keys'), await readFile(`${userKey}.pub`), { mode: 0o644 })
  }
  await writeFile(join(folder, 'sshd_config'), configOf(options, folder, port, types.map(hostKey)))
  const log = join(folder, 'log')
  await rm(log, { force: true })
  const child = spawn(SSHD, ['-D', '-f', join(folder, 'sshd_config'), '-E', log], { stdio: 'ignore' })
  const pid = child.pid as number
  // A test that crashes must not leave its server behind.
  const endAtExit = () => {
    child.kill('SIGTERM')
    rmSync(folder, { recursive: true, force: true })
  }
  process.once('exit', endAtExit)
  exitOnSignals()
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  await listening(folder, port, () => child.exitCode === null)
  const knownHosts = await knownHostsOf(types.map(hostKey), port)
  const knownHostsFile = join(folder, 'known_hosts')
  await writeFile(knownHostsFile, knownHosts)
  return {
    host: '127.0.0.1',
    port,
    pid,
    folder,
    user: process.env.USER ?? 'root',
    userKey,
    knownHosts,
    knownHostsFile,
    hostKey,
    connections: () => childrenOf(pid),
    log: () => readFile(log, 'utf8'),
    async stop(keepFolder = false) {
      const below = descendants(pid)
      child.kill('SIGTERM')
      await exited
      process.removeListener('exit', endAtExit)
      await endAll(below)
      if (!keepFolder) await rm(folder, { recursive: true, force: true })
    },
  }
}

function descendants(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => [child, ...descendants(child)])
}

function configOf(options: SshdOptions, folder: string, port: number, hostKeys: readonly string[]): string {
  const lines = [
    ...(options.config ?? []),
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    ...hostKeys.map((path) => `HostKey ${path}`),
    'PidFile none',
    `AuthorizedKeysFile ${join(folder, 'authorized_keys')}`,
    'PermitRootLogin yes',
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'UsePAM no',
    // The folder lies in /tmp, which others may write to.
    'StrictModes no',
    ...(options.sftp === undefined
      ? ['Subsystem sftp internal-sftp']
      : options.sftp === false
        ? []
        : [`Subsystem sftp ${options.sftp}`]),
    // With it, bash does not take itself for a log-in and reads no profile of this machine's root.
    'SetEnv SHLVL=3',
    ...(options.maxSessions === undefined ? [] : [`MaxSessions ${options.maxSessions}`]),
    // Many connections come at once in these tests.
    'MaxStartups 100:30:200',
    'LogLevel VERBOSE',
  ]
  return `${lines.join('\n')}\n`
}

/** Makes a key pair; with a passphrase, the private key is encrypted. */
export async function makeKey(path: string, type: KeyType, passphrase = ''): Promise<void> {
  await run('ssh-keygen', ['-q', '-t', type, '-N', passphrase, '-C', 'test', '-f', path])
}

async function knownHostsOf(hostKeys: readonly string[], port: number): Promise<string> {
  const keys = await Promise.all(hostKeys.map((path) => readFile(`${path}.pub`, 'utf8')))
  return keys.map((key) => `[127.0.0.1]:${port} ${key.split(' ').slice(0, 2).join(' ')}\n`).join('')
}

export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}

async function listening(folder: string, port: number, alive: () => boolean): Promise<void> {
  for (let tries = 0; tries < 250; tries++) {
    const log = await readFile(join(folder, 'log'), 'utf8').catch(() => '')
    if (log.includes(`Server listening on 127.0.0.1 port ${port}.`)) return
    if (!alive()) throw new Error(`sshd did not start: ${log}`)
    await delay(20)
  }
  throw new Error('sshd did not listen within 5 s')
}
