import { execFile, spawn } from 'node:child_process'
import { existsSync, rmSync } from 'node:fs'
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { exitOnSignals } from './processes.ts'
import { freePort } from './sshd.ts'

const run = promisify(execFile)
/** Debian's; sbin is not in everybody's PATH. */
const MOSQUITTO = '/usr/sbin/mosquitto'

/** A test that crashes must not leave its brokers behind. */
const running = new Set<() => void>()
const endRunning = () => {
  for (const end of running) end()
}

/** Files of a broker's TLS; `clients` asks every client for a certificate of that authority. */
export interface MosquittoTls {
  readonly ca: string
  readonly cert: string
  readonly key: string
  readonly clients?: boolean
}

export interface MosquittoOptions {
  /** Port to listen on; a free one otherwise. */
  readonly port?: number
  readonly tls?: MosquittoTls
  /** Accounts by name; without them everybody may connect. */
  readonly passwords?: Readonly<Record<string, string>>
  /** Lines of an ACL file: mosquitto.conf(5). */
  readonly acl?: readonly string[]
  /** Whether sessions and retained messages outlive the process; they lie in the folder. */
  readonly persistence?: boolean
  /** Speaks MQTT over WebSocket on the port instead of over TCP. */
  readonly websocket?: boolean
  /** Further lines of mosquitto.conf, before the listener. */
  readonly config?: readonly string[]
  /** The folder of an earlier broker, for one that comes back. */
  readonly folder?: string
}

/** A mosquitto of its own on a loopback port. */
export interface Mosquitto extends AsyncDisposable {
  readonly host: '127.0.0.1'
  readonly port: number
  readonly pid: number
  readonly folder: string
  /** `mqtt://127.0.0.1:PORT`, or mqtts, ws, wss. */
  readonly url: string
  log(): Promise<string>
  /** Ends it in order; the folder goes too, unless it is kept. May be called again. */
  stop(keepFolder?: boolean): Promise<void>
  /** Ends it as a crash does (SIGKILL); the folder stays until `stop`. */
  kill(): Promise<void>
  /** Stops it in its tracks, and lets it go on: a broker that hangs. */
  pause(): void
  resume(): void
}

/** Why there can be no mosquitto here; undefined when there can. To be given to `skip`. */
export function mosquittoMissing(): string | undefined {
  return existsSync(MOSQUITTO) ? undefined : 'needs mosquitto (scripts/setup-servers installs it)'
}

export async function startMosquitto(options: MosquittoOptions = {}): Promise<Mosquitto> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'mhv-mosquitto-')))
  const port = options.port ?? (await freePort())
  await writeFile(join(folder, 'mosquitto.conf'), await configOf(options, folder, port))
  const log = join(folder, 'log')
  await rm(log, { force: true })
  // As root it would change its user, and then not read what is in the folder.
  const child = spawn(MOSQUITTO, ['-c', join(folder, 'mosquitto.conf')], { stdio: 'ignore' })
  const pid = child.pid as number
  const endAtExit = () => {
    child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
  if (running.size === 0) process.once('exit', endRunning)
  running.add(endAtExit)
  exitOnSignals()
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  await listening(port, log, () => child.exitCode === null)
  const scheme = options.websocket ? (options.tls ? 'wss' : 'ws') : options.tls ? 'mqtts' : 'mqtt'
  async function stop(keepFolder = false): Promise<void> {
    child.kill('SIGCONT')
    child.kill('SIGTERM')
    await exited
    running.delete(endAtExit)
    if (running.size === 0) process.removeListener('exit', endRunning)
    if (!keepFolder) await rm(folder, { recursive: true, force: true })
  }
  return {
    host: '127.0.0.1',
    port,
    pid,
    folder,
    url: `${scheme}://127.0.0.1:${port}`,
    log: () => readFile(log, 'utf8'),
    stop,
    [Symbol.asyncDispose]: () => stop(),
    async kill() {
      child.kill('SIGKILL')
      await exited
    },
    pause: () => child.kill('SIGSTOP'),
    resume: () => child.kill('SIGCONT'),
  }
}

async function configOf(options: MosquittoOptions, folder: string, port: number): Promise<string> {
  const { tls, passwords, acl } = options
  const lines = ['user root', 'set_tcp_nodelay true', `log_dest file ${join(folder, 'log')}`, 'log_type all']
  lines.push(...(options.config ?? []))
  if (options.persistence) {
    await mkdir(join(folder, 'data'), { recursive: true })
    lines.push('persistence true', `persistence_location ${join(folder, 'data')}/`, 'autosave_interval 1')
  }
  if (passwords) {
    const file = join(folder, 'passwords')
    await writeFile(file, '', { mode: 0o600 })
    for (const [name, password] of Object.entries(passwords))
      await run('mosquitto_passwd', ['-b', file, name, password])
    lines.push(`password_file ${file}`)
  }
  lines.push(`allow_anonymous ${passwords === undefined}`)
  if (acl) {
    const file = join(folder, 'acl')
    await writeFile(file, `${acl.join('\n')}\n`)
    await chmod(file, 0o600)
    lines.push(`acl_file ${file}`)
  }
  // 2.0.11 does not start with a listener of WebSockets alone.
  if (options.websocket) lines.push(`listener ${await freePort()} 127.0.0.1`)
  lines.push(`listener ${port} 127.0.0.1`)
  // Its library of WebSockets takes an address of IPv4 only where it is told so.
  if (options.websocket) lines.push('protocol websockets', 'socket_domain ipv4')
  if (tls) {
    lines.push(`cafile ${tls.ca}`, `certfile ${tls.cert}`, `keyfile ${tls.key}`)
    if (tls.clients) lines.push('require_certificate true')
  }
  return `${lines.join('\n')}\n`
}

async function listening(port: number, log: string, alive: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await answers(port)) return
    if (!alive()) throw new Error(`mosquitto did not start: ${await readFile(log, 'utf8').catch(() => '')}`)
    await delay(20)
  }
  throw new Error('mosquitto did not listen within 10 s')
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
    socket.once('close', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
}

/** A certificate authority of a test. */
export interface TestAuthority {
  readonly ca: string
  /** A certificate of it for a host (or client) name; `days` may be negative: expired. */
  issue(
    name: string,
    options?: { readonly altNames?: readonly string[]; readonly days?: number },
  ): Promise<MosquittoTls>
}

/** Makes an authority with its files in the folder. */
export async function testAuthority(folder: string, name = 'ca'): Promise<TestAuthority> {
  const file = (what: string) => join(folder, `${name}-${what}`)
  const ec = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  await run('openssl', [
    'req',
    '-x509',
    ...ec,
    '-keyout',
    file('ca.key'),
    '-out',
    file('ca.pem'),
    '-days',
    '30',
    '-subj',
    `/CN=${name}`,
  ])
  let serial = 0
  return {
    ca: file('ca.pem'),
    async issue(host, { altNames = [`DNS:${host}`], days = 30 } = {}) {
      serial += 1
      const own = (what: string) => file(`${serial}.${what}`)
      await run('openssl', ['req', '-new', ...ec, '-keyout', own('key'), '-out', own('csr'), '-subj', `/CN=${host}`])
      await writeFile(own('ext'), `subjectAltName=${altNames.join(',')}\n`)
      const sign = ['-in', own('csr'), '-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-set_serial', String(serial)]
      await run('openssl', ['x509', '-req', ...sign, '-days', String(days), '-extfile', own('ext'), '-out', own('pem')])
      return { ca: file('ca.pem'), cert: own('pem'), key: own('key') }
    },
  }
}
