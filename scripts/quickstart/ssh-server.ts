import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import ssh2 from 'ssh2'
import { endWithThisProcess } from './children.ts'

/** An SSH server on loopback, for one run of the quickstart. */
export interface QuickstartServer {
  /** `system sshd (PATH)` or `built in (ssh2)`; printed. */
  readonly kind: string
  readonly port: number
  readonly user: string
  /** Private key of the client; relative to the instance folder. */
  readonly identityFile: string
  stop(): Promise<void>
}

const PLACES = ['/usr/sbin/sshd', '/usr/local/sbin/sshd', '/usr/bin/sshd', '/opt/homebrew/sbin/sshd', '/sbin/sshd']

/** Full path of the system's sshd (it refuses to be called by another), or undefined. */
export async function systemSshd(): Promise<string | undefined> {
  for (const place of PLACES) {
    const found = await access(place).then(
      () => true,
      () => false,
    )
    if (found) return place
  }
  return undefined
}

/** Makes the keys once, in `folder/demo`, and writes the host's key into the instance's known_hosts. */
async function keysIn(folder: string, port: number) {
  const demo = join(folder, 'demo')
  await mkdir(demo, { recursive: true, mode: 0o700 })
  const host = await keyPair(join(demo, 'host_key'))
  const client = await keyPair(join(demo, 'client_key'))
  await writeFile(join(demo, 'authorized_keys'), `${client}\n`, { mode: 0o600 })
  await writeFile(join(folder, 'known_hosts'), `[127.0.0.1]:${port} ${host}\n`, { mode: 0o600 })
  return { demo, client }
}

/** The public key of a pair that is made when it is not there yet. */
async function keyPair(file: string): Promise<string> {
  try {
    return (await readFile(`${file}.pub`, 'utf8')).trim()
  } catch {
    const pair = ssh2.utils.generateKeyPairSync('ed25519')
    await writeFile(file, pair.private, { mode: 0o600 })
    await writeFile(`${file}.pub`, `${pair.public}\n`)
    return pair.public.trim()
  }
}

/** Starts the system's sshd on a free port of 127.0.0.1, with its own keys and configuration. */
export async function startSystemSshd(sshd: string, folder: string): Promise<QuickstartServer> {
  const port = await freePort()
  const { demo } = await keysIn(folder, port)
  // sshd separates privileges into this folder and refuses to start without it.
  if (process.getuid?.() === 0) await mkdir('/run/sshd', { recursive: true, mode: 0o755 })
  const config = [
    `Port ${port}`,
    'ListenAddress 127.0.0.1',
    `HostKey ${join(demo, 'host_key')}`,
    `AuthorizedKeysFile ${join(demo, 'authorized_keys')}`,
    `PidFile ${join(demo, 'sshd.pid')}`,
    'PasswordAuthentication no',
    'KbdInteractiveAuthentication no',
    'PermitRootLogin prohibit-password',
    'UsePAM no',
    // The folder may lie under one that others can write to; the key in it is the demo's own.
    'StrictModes no',
    'Subsystem sftp internal-sftp',
  ]
  await writeFile(join(demo, 'sshd_config'), `${config.join('\n')}\n`)
  const log = join(demo, 'sshd.log')
  const child = spawn(sshd, ['-D', '-f', join(demo, 'sshd_config'), '-E', log], { stdio: 'ignore' })
  endWithThisProcess(child)
  const exited = once(child, 'exit')
  const failed = exited.then(async () => {
    throw new Error(`sshd ended at once: ${(await readFile(log, 'utf8').catch(() => '')).trim().split('\n').at(-1)}`)
  })
  await Promise.race([failed, answering(port)])
  failed.catch(() => undefined)
  return {
    kind: `system sshd (${sshd})`,
    port,
    user: userInfo().username,
    identityFile: 'demo/client_key',
    async stop() {
      child.kill('SIGTERM')
      await exited
    },
  }
}

/** A small SSH server made of ssh2's server side: it knows one key, and runs commands with /bin/sh. */
export async function startBuiltInServer(folder: string): Promise<QuickstartServer> {
  const port = await freePort()
  const { demo, client } = await keysIn(folder, port)
  const allowed = ssh2.utils.parseKey(client)
  if (allowed instanceof Error) throw allowed
  const server = new ssh2.Server({ hostKeys: [await readFile(join(demo, 'host_key'))] }, (connection) => {
    connection.on('error', () => undefined)
    connection.on('authentication', (request) => {
      const known = request.method === 'publickey' && request.key.data.equals(allowed.getPublicSSH())
      const genuine =
        known &&
        (request.signature === undefined ||
          allowed.verify(request.blob as Buffer, request.signature, request.hashAlgo) === true)
      if (genuine) request.accept()
      else request.reject(['publickey'])
    })
    connection.on('session', (accept) => {
      accept().on('exec', (acceptExec, _reject, { command }) => runCommand(acceptExec(), command))
    })
  })
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  return {
    kind: 'built in (ssh2)',
    port,
    user: userInfo().username,
    identityFile: 'demo/client_key',
    stop: () => new Promise((resolve) => server.close(() => resolve())),
  }
}

function runCommand(channel: ssh2.ServerChannel, command: string): void {
  // `detached` gives the command a session of its own, as sshd does.
  const child = spawn('/bin/sh', ['-c', command], { detached: true, env: { ...process.env, SHELL: '/bin/sh' } })
  channel.pipe(child.stdin)
  child.stdin.on('error', () => undefined)
  child.stdout.pipe(channel, { end: false })
  child.stderr.pipe(channel.stderr, { end: false })
  child.on('close', (code, signal) => {
    if (signal === null) channel.exit(code ?? 1)
    else channel.exit(signal.replace(/^SIG/, ''))
    channel.end()
  })
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  if (address === null || typeof address === 'string') throw new Error('no free port')
  return address.port
}

/** Fulfilled when something accepts connections on the port. */
async function answering(port: number): Promise<void> {
  const { connect } = await import('node:net')
  for (;;) {
    const socket = connect({ port, host: '127.0.0.1' })
    const open = await Promise.race([
      once(socket, 'connect').then(() => true),
      once(socket, 'close').then(() => false),
    ]).catch(() => false)
    socket.destroy()
    if (open) return
    await delay(20)
  }
}
