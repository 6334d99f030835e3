import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'

/** The one cipher that everybody uses here; the fastest of those that OpenSSH and ssh2 both have. */
export const CIPHER = 'aes128-gcm@openssh.com'

const PROGRAM = '/usr/sbin/sshd'
const KEY_MAKER = 'ssh-keygen'
const HOST = '127.0.0.1'
const START_MS = 10_000

/** A server on loopback that allows as many sessions as anybody wants. */
export interface BenchSshd {
  readonly host: string
  readonly port: number
  readonly user: string
  readonly identityFile: string
  readonly knownHostsFile: string
  /** What the rows say of it. */
  readonly settings: Readonly<Record<string, unknown>>
  close(): Promise<void>
}

export function sshdMissing(): string | undefined {
  if (existsSync(PROGRAM)) return undefined
  return `${PROGRAM} is not there: install openssh-server (scripts/setup-servers does on Debian)`
}

function makeKey(file: string): string {
  const { status, stderr } = spawnSync(KEY_MAKER, ['-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', file])
  if (status !== 0) throw new Error(`${KEY_MAKER}: ${stderr}`)
  return readFileSync(`${file}.pub`, 'utf8').trim()
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, HOST, resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('there is no free port')
  return address.port
}

function configOf(folder: string, port: number): string {
  return `
Port ${port}
ListenAddress ${HOST}
HostKey ${join(folder, 'host_key')}
AuthorizedKeysFile ${join(folder, 'authorized_keys')}
PidFile none
StrictModes no
UsePAM no
UseDNS no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxSessions 1000
MaxStartups 1000
LogLevel ERROR
Ciphers ${CIPHER}
# Or bash reads the user's start-up files for every command, and they are what is measured.
SetEnv SHLVL=3
`
}

async function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, HOST)
    socket.once('data', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

async function untilAnswering(server: ChildProcess, port: number, log: string): Promise<void> {
  for (const until = performance.now() + START_MS; performance.now() < until; ) {
    if (server.exitCode !== null) break
    if (await answers(port)) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  throw new Error(`sshd did not start: ${existsSync(log) ? readFileSync(log, 'utf8') : 'no log'}`)
}

/** Starts sshd with its files in a folder that the caller removes. */
export async function startSshd(folder: string): Promise<BenchSshd> {
  const port = await freePort()
  const hostKey = makeKey(join(folder, 'host_key'))
  const identityFile = join(folder, 'user_key')
  const knownHostsFile = join(folder, 'known_hosts')
  writeFileSync(join(folder, 'authorized_keys'), `${makeKey(identityFile)}\n`)
  writeFileSync(knownHostsFile, `[${HOST}]:${port} ${hostKey}\n`)
  writeFileSync(join(folder, 'sshd_config'), configOf(folder, port))
  // Where sshd drops its privileges; it insists on the folder when it is root.
  if (process.getuid?.() === 0) mkdirSync('/run/sshd', { recursive: true })

  const log = join(folder, 'sshd.log')
  const server = spawn(PROGRAM, ['-D', '-f', join(folder, 'sshd_config'), '-E', log], { stdio: 'ignore' })
  const kill = () => server.kill()
  process.on('exit', kill)
  const exited = new Promise<void>((resolve) => server.once('exit', () => resolve()))
  await untilAnswering(server, port, log)
  return {
    host: HOST,
    port,
    user: userInfo().username,
    identityFile,
    knownHostsFile,
    settings: { cipher: CIPHER, sshd: 'loopback, MaxSessions 1000, MaxStartups 1000, SetEnv SHLVL=3' },
    async close() {
      kill()
      await exited
      process.off('exit', kill)
    },
  }
}
