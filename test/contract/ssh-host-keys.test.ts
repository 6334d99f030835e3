import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, statSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { type ConnectParts, connectSsh } from '../../src/workers/ssh/connect.ts'
import { fingerprintOf } from '../../src/workers/ssh/host-keys.ts'
import { runCommand } from '../../src/workers/ssh/run-command.ts'
import type { SshSettings, SshTarget } from '../../src/workers/ssh/settings.ts'
import { operationContext, startWorker, targetOf } from '../helpers/ssh-context.ts'
import { type KeyType, makeKey, type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

/** SSH-01: a host whose key is not the known one gets nothing from us. */

const skip = sshdMissing()
let sshd: Sshd
let folder: string

before(async () => {
  if (skip) return
  sshd = await startSshd({ hostKeyTypes: ['rsa', 'ecdsa', 'ed25519'] })
  folder = await mkdtemp(join(tmpdir(), 'mhv-ssh-keys-'))
})
after(async () => {
  if (skip) return
  await sshd.stop()
  await rm(folder, { recursive: true })
})

const publicKey = (type: KeyType) =>
  readFileSync(`${sshd.hostKey(type)}.pub`, 'utf8')
    .split(' ')
    .slice(0, 2)
    .join(' ')
const fingerprint = (type: KeyType) => fingerprintOf(Buffer.from(publicKey(type).split(' ')[1] as string, 'base64'))
const name = () => `[127.0.0.1]:${sshd.port}`

async function otherKey(): Promise<string> {
  const path = join(folder, `other-${Math.random()}`)
  await makeKey(path, 'ed25519')
  return (await readFile(`${path}.pub`, 'utf8')).split(' ').slice(0, 2).join(' ')
}

/** Runs a command with this text as the only known_hosts file. */
async function withKnownHosts(
  text: string,
  options: { settings?: Partial<SshSettings>; target?: Partial<SshTarget>; judge?: ConnectParts['judge'] } = {},
): Promise<string> {
  const file = join(folder, `known_hosts-${Math.random()}`)
  await writeFile(file, text)
  const judge = options.judge
  const worker = await startWorker({
    settings: options.settings,
    ...(judge && { parts: { connect: (request, signal) => connectSsh(request, signal, { judge }) } }),
  })
  try {
    const target = targetOf(sshd, { known_hosts: [file], ...options.target })
    return (await runCommand(operationContext(worker, target), { command: 'echo in' })).stdout
  } finally {
    await worker.close()
  }
}

function refused(code: string, ...texts: string[]) {
  return (error: Error & { code?: string }) => {
    assert.equal(error.code, code, error.message)
    for (const text of texts) assert.ok(error.message.includes(text), `${text} in: ${error.message}`)
    return true
  }
}

const loggedIn = async () => (await sshd.log()).split('\n').filter((line) => line.includes('Accepted')).length

interface Refusal {
  readonly title: string
  readonly text: () => string | Promise<string>
  readonly code: string
  readonly says: () => string[]
}

const REFUSALS: readonly Refusal[] = [
  {
    title: 'unknown',
    text: () => `other.example ${publicKey('ed25519')}\n`,
    code: 'MHV_SSH_HOST_KEY_UNKNOWN',
    says: () => [fingerprint('ed25519')],
  },
  {
    title: 'changed',
    text: async () => `# mine\n${name()} ${await otherKey()}\n`,
    code: 'MHV_SSH_HOST_KEY_CHANGED',
    says: () => [fingerprint('ed25519'), ':2 has another one'],
  },
  {
    title: 'revoked',
    text: () => `${name()} ${publicKey('ed25519')}\n@revoked * ${publicKey('ed25519')}\n`,
    code: 'MHV_SSH_HOST_KEY_REVOKED',
    says: () => [fingerprint('ed25519'), ':2 revokes'],
  },
]

async function assertRefused({ text, code, says }: Refusal, judge?: ConnectParts['judge']): Promise<void> {
  const before = await loggedIn()
  await assert.rejects(withKnownHosts(await text(), { judge }), refused(code, ...says()))
  assert.equal(await loggedIn(), before, 'no credential was offered')
}

for (const refusal of REFUSALS) {
  test(`SSH-01: a host with a key that is ${refusal.title} is refused, with the fingerprint`, { skip }, () =>
    assertRefused(refusal),
  )

  test(`SSH-01: negative control: with a verifier that takes every key, "${refusal.title}" is not refused`, {
    skip,
  }, async () => {
    const takesAll: ConnectParts['judge'] = (_files, _names, key) => ({
      kind: 'known',
      type: 'any',
      fingerprint: fingerprintOf(key),
    })
    await assert.rejects(assertRefused(refusal, takesAll), { code: 'ERR_ASSERTION' })
  })
}

test('SSH-01: the known key lets one in, plain, hashed, by pattern and by alias', { skip }, async () => {
  const key = publicKey('ed25519')
  assert.equal(await withKnownHosts(`${name()} ${key}\n`), 'in\n')
  assert.equal(await withKnownHosts(`[127.0.0.?]:*,!127.0.0.1 ${key}\n`), 'in\n')
  assert.equal(await withKnownHosts(`db-1 ${key}\n`, { target: { host_key_alias: 'DB-1' } }), 'in\n')
  const hashed = join(folder, 'hashed')
  await writeFile(hashed, `${name()} ${key}\n`)
  execFileSync('ssh-keygen', ['-q', '-H', '-f', hashed], { stdio: 'ignore' })
  const text = await readFile(hashed, 'utf8')
  assert.ok(text.startsWith('|1|'))
  assert.equal(await withKnownHosts(text), 'in\n')
})

test('SSH-01: of several keys of a host, the one that is known is asked for', { skip }, async () => {
  for (const type of ['rsa', 'ecdsa', 'ed25519'] as const) {
    assert.equal(await withKnownHosts(`${name()} ${publicKey(type)}\n`), 'in\n', type)
  }
})

test('SSH-01: files that cannot be read are a refusal, and so is having none', { skip }, async () => {
  const directory = join(folder, 'directory')
  await mkdir(directory)
  const known = join(folder, 'known')
  await writeFile(known, `${name()} ${publicKey('ed25519')}\n`)
  const unreadable = refused('MHV_SSH_KNOWN_HOSTS_UNREADABLE')
  for (const host_key_policy of ['strict', 'accept_new'] as const) {
    const settings = { host_key_policy }
    await assert.rejects(withKnownHosts('', { settings, target: { known_hosts: [known, directory] } }), unreadable)
  }
  await assert.rejects(withKnownHosts('', { target: { known_hosts: [join(folder, 'none')] } }), unreadable)
  assert.equal(await withKnownHosts('', { target: { known_hosts: [join(folder, 'none'), known] } }), 'in\n')
})

test('SSH-01: accept_new keeps the key of a new host in our file, and then holds on to it', { skip }, async () => {
  const theirs = join(folder, 'theirs')
  await writeFile(theirs, '')
  const worker = await startWorker({ settings: { host_key_policy: 'accept_new' } })
  try {
    const target = targetOf(sshd, { known_hosts: [theirs] })
    const runs = Array.from({ length: 12 }, () => runCommand(operationContext(worker, target), { command: 'true' }))
    await Promise.all(runs)
    const ours = join(worker.folder, 'known_hosts')
    assert.equal(await readFile(ours, 'utf8'), `${name()} ${publicKey('ed25519')}\n`)
    assert.equal(statSync(ours).mode & 0o777, 0o600)
    assert.equal(await readFile(theirs, 'utf8'), '', 'nothing is written to the files of others')
    assert.equal(execFileSync('ssh-keygen', ['-F', name(), '-f', ours], { encoding: 'utf8' }).includes('found'), true)

    // The same policy, another key: refused, and not written.
    const text = `${name()} ${await otherKey()}\n`
    await writeFile(ours, text)
    const again = await startWorker({ settings: { host_key_policy: 'accept_new' }, folder: worker.folder })
    await assert.rejects(
      runCommand(operationContext(again, target), { command: 'true' }),
      refused('MHV_SSH_HOST_KEY_CHANGED', `${ours}:1`),
    )
    assert.equal(await readFile(ours, 'utf8'), text)
    await again.close()
  } finally {
    await worker.close()
  }
})

test('SSH-01: accept_new does not take a revoked key', { skip }, async () => {
  const text = `@revoked ${name()} ${publicKey('ed25519')}\n`
  await assert.rejects(
    withKnownHosts(text, { settings: { host_key_policy: 'accept_new' } }),
    refused('MHV_SSH_HOST_KEY_REVOKED'),
  )
})

test('SSH-01: without a known_hosts file anywhere, accept_new begins ours', { skip }, async () => {
  const target = { known_hosts: [join(folder, 'never')] }
  assert.equal(await withKnownHosts('', { settings: { host_key_policy: 'accept_new' }, target }), 'in\n')
})
