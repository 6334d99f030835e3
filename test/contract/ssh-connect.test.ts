import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, copyFile, mkdir, readFile, writeFile } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { connectSsh } from '../../src/workers/ssh/connect.ts'
import { runCommand } from '../../src/workers/ssh/run-command.ts'
import type { SshSettings, SshTarget } from '../../src/workers/ssh/settings.ts'
import { until } from '../helpers/processes.ts'
import { type SshAgent, startSshAgent } from '../helpers/ssh-agent.ts'
import { operationContext, startWorker, type TestWorker, targetOf } from '../helpers/ssh-context.ts'
import { makeUser, type SystemUser } from '../helpers/ssh-user.ts'
import { freePort, makeKey, type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'
import { startTcpProxy } from '../helpers/tcp-proxy.ts'

/** Logging in, and every way in which it fails, against OpenSSH's sshd and against servers that misbehave. */

const skip = sshdMissing()
let sshd: Sshd
let worker: TestWorker
let agent: SshAgent
let user: SystemUser
let wrongKey: string
let encryptedKey: string

before(async () => {
  if (skip) return
  sshd = await startSshd({ config: ['PasswordAuthentication yes', 'MaxAuthTries 4'] })
  worker = await startWorker({
    secrets: { PASSWORD: 'correct horse', WRONG: 'battery staple', PASSPHRASE: 'opens it' },
    settings: { connect_timeout: 20 },
  })
  agent = await startSshAgent()
  user = await makeUser({ password: 'correct horse' })
  wrongKey = join(sshd.folder, 'wrong_key')
  encryptedKey = join(sshd.folder, 'encrypted_key')
  await makeKey(wrongKey, 'ed25519')
  await makeKey(encryptedKey, 'ed25519', 'opens it')
  const authorized = join(sshd.folder, 'authorized_keys')
  await writeFile(authorized, (await readFile(authorized, 'utf8')) + (await readFile(`${encryptedKey}.pub`, 'utf8')))
})
after(async () => {
  if (skip) return
  await worker.close()
  await agent.stop()
  await sshd.stop()
  await user.remove()
})

async function logIn(more: Partial<SshTarget>, settings: Partial<SshSettings> = {}): Promise<string> {
  const ctx = operationContext(worker, targetOf(sshd, more), { settings })
  return (await runCommand(ctx, { command: 'id -un' })).stdout.trim()
}

function failure(code: string, ...texts: RegExp[]) {
  return (error: Error & { code?: string }) => {
    assert.equal(error.code, code, error.message)
    for (const text of texts) assert.match(error.message, text)
    for (const secret of ['correct horse', 'battery staple', 'opens it']) assert.ok(!error.message.includes(secret))
    return true
  }
}

test('a key, an encrypted key, a password and an agent let one in', { skip }, async () => {
  assert.equal(await logIn({}), 'root')
  assert.equal(await logIn({ identity_files: [encryptedKey], passphrase: 'env:PASSPHRASE' }), 'root')
  assert.equal(await logIn({ user: user.name, identity_files: [], password: 'env:PASSWORD' }), user.name)
  await agent.add(sshd.userKey)
  assert.equal(await logIn({ identity_files: [], agent: agent.socket }), 'root')
})

test('RSA and ECDSA keys let one in, RSA without SHA-1', { skip }, async () => {
  const authorized = join(sshd.folder, 'authorized_keys')
  for (const type of ['rsa', 'ecdsa'] as const) {
    const key = join(sshd.folder, `user_${type}`)
    await makeKey(key, type)
    await writeFile(authorized, (await readFile(authorized, 'utf8')) + (await readFile(`${key}.pub`, 'utf8')))
    assert.equal(await logIn({ identity_files: [key] }), 'root')
  }
})

test('agent: true takes the one of SSH_AUTH_SOCK; without it, the next credential is tried', { skip }, async () => {
  const before = process.env.SSH_AUTH_SOCK
  try {
    process.env.SSH_AUTH_SOCK = agent.socket
    await agent.add(sshd.userKey)
    assert.equal(await logIn({ identity_files: [], agent: true }), 'root')
    delete process.env.SSH_AUTH_SOCK
    assert.equal(await logIn({ agent: true, identity_files: [sshd.userKey, wrongKey] }), 'root')
    await assert.rejects(
      logIn({ agent: true, identity_files: [], host_key_alias: `[127.0.0.1]:${sshd.port}` }),
      failure('MHV_SSH_AUTH_FAILED', /SSH_AUTH_SOCK is not set/),
    )
  } finally {
    if (before === undefined) delete process.env.SSH_AUTH_SOCK
    else process.env.SSH_AUTH_SOCK = before
  }
})

test('credentials are tried in order and read only when their turn comes', { skip }, async () => {
  const fresh = await startWorker({ secrets: { PASSWORD: 'correct horse' } })
  try {
    const target = targetOf(sshd, { password: 'env:PASSWORD' })
    await runCommand(operationContext(fresh, target), { command: 'true' })
    assert.deepEqual(fresh.secrets.asked, [], 'the key was enough')
    const later = targetOf(sshd, { user: user.name, identity_files: [wrongKey], password: 'env:PASSWORD' })
    await runCommand(operationContext(fresh, later), { command: 'true' })
    assert.deepEqual(fresh.secrets.asked, ['env:PASSWORD'])
    await assert.rejects(
      runCommand(operationContext(fresh, targetOf(sshd, { identity_files: [], password: 'env:NOT_SET' })), {
        command: 'true',
      }),
      failure('MHV_SECRET_UNRESOLVED'),
    )
  } finally {
    await fresh.close()
  }
})

test('a wrong key, a wrong password, an unknown user and no credentials at all are refused', { skip }, async () => {
  await assert.rejects(logIn({ identity_files: [wrongKey] }), failure('MHV_SSH_AUTH_FAILED', /wrong_key/))
  await assert.rejects(
    logIn({ user: user.name, identity_files: [], password: 'env:WRONG' }),
    failure('MHV_SSH_AUTH_FAILED', /accepted none of: password/),
  )
  await assert.rejects(logIn({ user: 'no-such-user' }), failure('MHV_SSH_AUTH_FAILED', /no-such-user/))
  await assert.rejects(logIn({ identity_files: [] }), failure('MHV_SSH_AUTH_FAILED', /names no credentials/))
})

test('too many credentials for the host: its own words are passed on', { skip }, async () => {
  const many = Array.from({ length: 8 }, (_, n) => join(sshd.folder, `many_${n}`))
  for (const path of many) await makeKey(path, 'ed25519')
  await assert.rejects(
    logIn({ identity_files: many }),
    failure('MHV_SSH_AUTH_FAILED', /Too many authentication failures/),
  )
})

test('a host that takes no passwords is not given one', { skip }, async () => {
  const keysOnly = await startSshd()
  try {
    const target = targetOf(keysOnly, { identity_files: [wrongKey], password: 'env:PASSWORD' })
    const asked = worker.secrets.asked.length
    await assert.rejects(
      runCommand(operationContext(worker, target), { command: 'true' }),
      failure('MHV_SSH_AUTH_FAILED', /the host takes only publickey/),
    )
    assert.equal(worker.secrets.asked.length, asked)
  } finally {
    await keysOnly.stop()
  }
})

test('an agent that cannot be reached is no end, but is named when nothing else helps', { skip }, async () => {
  const socket = join(sshd.folder, 'no-agent')
  assert.equal(await logIn({ agent: socket }), 'root')
  await assert.rejects(
    logIn({ agent: socket, identity_files: [wrongKey] }),
    failure('MHV_SSH_AUTH_FAILED', /agent \(Failed to connect to agent\); key/),
  )
})

test('a key that cannot be used is named, and nothing of what is in it', { skip }, async () => {
  const path = (name: string) => join(sshd.folder, name)
  await writeFile(path('garbage'), 'SECRET-CONTENT of no key')
  await writeFile(path('torn'), (await readFile(sshd.userKey, 'utf8')).slice(0, 150))
  await mkdir(path('folder'))
  const invalid = (...texts: RegExp[]) => failure('MHV_SSH_KEY_INVALID', ...texts)
  await assert.rejects(logIn({ identity_files: [path('missing')] }), invalid(/missing cannot be read \(ENOENT\)/))
  execFileSync('mkfifo', [path('pipe')])
  for (const name of ['folder', 'pipe']) {
    await assert.rejects(logIn({ identity_files: [path(name)] }), invalid(new RegExp(`${name} is no regular file$`)))
  }
  for (const name of ['garbage', 'torn']) {
    await assert.rejects(logIn({ identity_files: [path(name)] }), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'MHV_SSH_KEY_INVALID')
      assert.ok(error.message.includes(name) && !JSON.stringify(error).includes('SECRET-CONTENT'))
      return true
    })
  }
  await assert.rejects(logIn({ identity_files: [`${sshd.userKey}.pub`] }), invalid(/public key/))
  await assert.rejects(
    logIn({ identity_files: [encryptedKey] }),
    invalid(/encrypted_key is encrypted and needs a passphrase/),
  )
  await assert.rejects(
    logIn({ identity_files: [encryptedKey], passphrase: 'env:WRONG' }),
    invalid(/does not open with its passphrase/),
  )
})

test('old PEM keys, encrypted or not, are taken', { skip }, async () => {
  const authorized = join(sshd.folder, 'authorized_keys')
  const key = join(sshd.folder, 'pem')
  await makeKey(key, 'rsa')
  await writeFile(authorized, (await readFile(authorized, 'utf8')) + (await readFile(`${key}.pub`, 'utf8')))
  execFileSync('ssh-keygen', ['-q', '-p', '-m', 'PEM', '-P', '', '-N', 'opens it', '-f', key])
  assert.match(await readFile(key, 'utf8'), /ENCRYPTED/)
  assert.equal(await logIn({ identity_files: [key], passphrase: 'env:PASSPHRASE' }), 'root')
  await assert.rejects(logIn({ identity_files: [key] }), failure('MHV_SSH_KEY_INVALID', /needs a passphrase/))
  await assert.rejects(
    logIn({ identity_files: [key], passphrase: 'env:WRONG' }),
    failure('MHV_SSH_KEY_INVALID', /does not open/),
  )
})

test('relative paths of keys start in the instance folder', { skip }, async () => {
  await copyFile(sshd.userKey, join(worker.folder, 'copied_key'))
  await chmod(join(worker.folder, 'copied_key'), 0o600)
  assert.equal(await logIn({ identity_files: ['copied_key'] }), 'root')
})

/** A TCP server that speaks as told, and what a connection to it ends with. */
async function against(speak: (socket: Socket) => void, settings: Partial<SshSettings> = {}) {
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    speak(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  const port = typeof address === 'object' && address ? address.port : 0
  const started = performance.now()
  try {
    await logIn({ port }, { connect_timeout: 0.4, ...settings })
    return { code: 'none', message: '', ms: 0 }
  } catch (error) {
    const { code, message } = error as Error & { code: string }
    return { code, message, ms: performance.now() - started }
  } finally {
    for (const socket of sockets) socket.destroy()
    server.close()
  }
}

test('a host that refuses, and one that takes the connection and says nothing', { skip }, async () => {
  await assert.rejects(logIn({ port: await freePort() }), failure('MHV_SSH_CONNECT_REFUSED', /refused the connection/))
  const silent = await against(() => undefined)
  assert.equal(silent.code, 'MHV_SSH_CONNECT_TIMEOUT')
  assert.match(silent.message, /sends no SSH banner/)
  assert.ok(silent.ms < 3_000)
})

test('a host that never answers at all', { skip }, async () => {
  // A listener that is stopped and whose queue is full: the kernel drops what comes, as a firewall does.
  const port = await freePort()
  const program = `require('node:net').createServer().listen({ port: ${port}, host: '127.0.0.1', backlog: 1 }, () => console.log('up'))`
  const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  child.kill('SIGSTOP')
  const filling = Array.from({ length: 6 }, () => connect({ port, host: '127.0.0.1' }).on('error', () => undefined))
  try {
    await delay(100)
    const started = performance.now()
    await assert.rejects(
      logIn({ port }, { connect_timeout: 0.4 }),
      failure('MHV_SSH_CONNECT_TIMEOUT', /nothing answers there/),
    )
    assert.ok(performance.now() - started < 3_000)
  } finally {
    for (const socket of filling) socket.destroy()
    child.kill('SIGKILL')
  }
})

test('a name that does not exist', { skip }, async () => {
  await assert.rejects(
    logIn({ host: 'no-such-host.invalid' }),
    failure('MHV_SSH_CONNECT_FAILED', /could not be resolved/),
  )
})

test('hosts that speak, but no SSH', { skip }, async () => {
  const ways: Record<string, (socket: Socket) => void> = {
    'hangs up at once': (socket) => socket.destroy(),
    resets: (socket) => socket.resetAndDestroy(),
    'says goodbye in words': (socket) => socket.end('Exceeded MaxStartups\r\n'),
    'is a web server': (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n<html>'),
    'sends a line without end': (socket) => {
      const more = () => {
        while (socket.write('x'.repeat(65_536)));
      }
      socket.on('drain', more)
      more()
    },
    'sends lines without end': (socket) => {
      const more = () => {
        while (socket.write('hello\r\n'.repeat(5_000)));
      }
      socket.on('drain', more)
      more()
    },
    'is of another version': (socket) => socket.write('SSH-1.5-old\r\n'),
    'sends garbage behind its banner': (socket) => socket.write(`SSH-2.0-x\r\n${'\xff\xfe garbage '.repeat(1_000)}`),
    'sends a packet of 2 GB': (socket) => socket.write(Buffer.from('SSH-2.0-x\r\n\x7f\xff\xff\xff\x04', 'latin1')),
  }
  for (const [way, speak] of Object.entries(ways)) {
    const { code, message, ms } = await against(speak)
    assert.equal(code, 'MHV_SSH_CONNECT_FAILED', `${way}: ${message}`)
    assert.ok(!/[\x00-\x1f]/.test(message), way)
    assert.ok(ms < 3_000, way)
  }
})

test('hosts that stop in the middle', { skip }, async () => {
  const afterBanner = await against((socket) => socket.write('SSH-2.0-x\r\n'))
  assert.equal(afterBanner.code, 'MHV_SSH_CONNECT_TIMEOUT')
  assert.match(afterBanner.message, /handshake was not finished/)
  const slowBanner = await against((socket) => {
    const timer = setInterval(() => socket.write('wait\r\n'), 50)
    socket.on('close', () => clearInterval(timer))
  })
  assert.equal(slowBanner.code, 'MHV_SSH_CONNECT_TIMEOUT')
})

test('the time to connect covers the log-in and the question for the login shell', { skip }, async () => {
  const proxy = await startTcpProxy({ port: sshd.port })
  try {
    proxy.delay(150)
    await assert.rejects(
      logIn({ port: proxy.port, host_key_alias: `[127.0.0.1]:${sshd.port}` }, { connect_timeout: 1 }),
      failure('MHV_SSH_CONNECT_TIMEOUT', /after 1 s/),
    )
  } finally {
    await proxy.close()
  }
})

test('an attempt that is given up leaves nothing open', { skip }, async () => {
  const proxy = await startTcpProxy({ port: sshd.port })
  try {
    proxy.stall()
    const controller = new AbortController()
    const { settings, folder, log, secrets } = worker
    const { systemClock: clock } = await import('../../src/core/clock.ts')
    const target = targetOf(sshd, { port: proxy.port, host_key_alias: `[127.0.0.1]:${sshd.port}` })
    const connecting = connectSsh({ target, settings, folder, clock, log, secrets }, controller.signal)
    assert.ok(await until(() => proxy.count() > 0))
    controller.abort(new Error('given up'))
    await assert.rejects(connecting, /given up/)
    proxy.resume()
    assert.ok(await until(() => proxy.count() === 0))
  } finally {
    await proxy.close()
  }
})

test('the deadline of a run that comes while connecting leaves certainty none', { skip }, async () => {
  const proxy = await startTcpProxy({ port: sshd.port })
  try {
    proxy.stall()
    const target = targetOf(sshd, { port: proxy.port })
    await assert.rejects(
      runCommand(operationContext(worker, target, { timeoutMs: 200 }), { command: 'true' }),
      failure('MHV_SSH_CONNECT_TIMEOUT', /before the deadline of the run/),
    )
    const run = operationContext(worker, target)
    const running = runCommand(run, { command: 'true' })
    run.cancel()
    await assert.rejects(running, failure('MHV_RUN_CANCELLED_QUEUED'))
  } finally {
    await proxy.close()
  }
})
