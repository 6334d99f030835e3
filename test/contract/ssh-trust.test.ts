import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { linkJumps } from '../../src/workers/ssh/route/link-target.ts'
import { runCommand } from '../../src/workers/ssh/run-command.ts'
import type { SshTarget } from '../../src/workers/ssh/settings.ts'
import { trustHost } from '../../src/workers/ssh/trust/trust-host.ts'
import { operationContext, startWorker, type TestWorker, targetOf } from '../helpers/ssh-context.ts'
import { type KeyType, makeKey, type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

/** ssh.trust_host against a real sshd with three keys. */

const skip = sshdMissing()
let sshd: Sshd
let worker: TestWorker
let folder: string

before(async () => {
  if (skip) return
  sshd = await startSshd({ hostKeyTypes: ['rsa', 'ecdsa', 'ed25519'] })
  folder = await mkdtemp(join(tmpdir(), 'mhv-trust-'))
})
after(async () => {
  if (skip) return
  await sshd.stop()
  await rm(folder, { recursive: true })
})

function fingerprint(type: KeyType): string {
  const shown = execFileSync('ssh-keygen', ['-lf', `${sshd.hostKey(type)}.pub`], { encoding: 'utf8' })
  return shown.split(' ')[1] as string
}

async function fresh<T>(use: (worker: TestWorker) => Promise<T>): Promise<T> {
  worker = await startWorker()
  try {
    return await use(worker)
  } finally {
    await worker.close()
  }
}

const target = (more: Partial<SshTarget> = {}) => targetOf(sshd, { known_hosts: undefined, ...more })
const look = (accept?: string, at = target()) => trustHost.run(operationContext(worker, at), { accept })
const ours = () => readFile(join(worker.folder, 'known_hosts'), 'utf8').catch(() => undefined)

test('shows the keys of a host, one of each type, and changes nothing', { skip }, () =>
  fresh(async () => {
    const data = await look(undefined, target({ identity_files: ['no-such-key'] }))
    const types = data.keys.map(({ type, fingerprint, state }) => [type, fingerprint, state])
    assert.deepEqual(types, [
      ['ssh-ed25519', fingerprint('ed25519'), 'unknown'],
      ['ecdsa-sha2-nistp256', fingerprint('ecdsa'), 'unknown'],
      ['ssh-rsa', fingerprint('rsa'), 'unknown'],
    ])
    assert.deepEqual([data.recorded, data.file, await ours()], [null, null, undefined])
    assert.equal(trustHost.effectOf?.({}), 'read')
    assert.equal(trustHost.effectOf?.({ accept: fingerprint('rsa') }), 'write')
    assert.ok(!(await sshd.log()).includes('Accepted publickey'), 'nothing logged in')
  }),
)

test('writes down the key that is accepted, with who and when, and then the host lets one in', { skip }, () =>
  fresh(async () => {
    const at = target()
    await assert.rejects(runCommand(operationContext(worker, at), { command: 'true' }), {
      code: 'MHV_SSH_KNOWN_HOSTS_UNREADABLE',
    })
    const data = await look(fingerprint('ecdsa'))
    assert.deepEqual([data.recorded, data.file], [fingerprint('ecdsa'), join(worker.folder, 'known_hosts')])
    const text = (await ours()) as string
    assert.match(text, /^\[127\.0\.0\.1\]:[0-9]+ ecdsa-sha2-nistp256 \S+ trusted by user:test at 20\S+Z in run \S+\n$/)
    assert.equal((await stat(join(worker.folder, 'known_hosts'))).mode & 0o777, 0o600)
    assert.equal((await runCommand(operationContext(worker, at), { command: 'echo in' })).stdout, 'in\n')
    // OpenSSH reads what was written.
    const found = execFileSync('ssh-keygen', [
      '-F',
      `[127.0.0.1]:${sshd.port}`,
      '-f',
      join(worker.folder, 'known_hosts'),
    ])
    assert.match(String(found), /ecdsa-sha2-nistp256/)
    const again = await look(fingerprint('ecdsa'))
    assert.deepEqual([again.recorded, await ours()], [null, text])
  }),
)

test('takes no fingerprint that the host does not show', { skip }, () =>
  fresh(async () => {
    const other = `SHA256:${'A'.repeat(43)}`
    await assert.rejects(look(other), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'MHV_SSH_TRUST_REFUSED')
      assert.ok(error.message.includes(other) && error.message.includes(fingerprint('ed25519')))
      return true
    })
    assert.equal(await ours(), undefined)
  }),
)

test('refuses a changed key: both fingerprints, the line, the remedy', { skip }, () =>
  fresh(async () => {
    const old = join(folder, 'old')
    await makeKey(old, 'ed25519')
    const [type, key] = (await readFile(`${old}.pub`, 'utf8')).split(' ')
    const file = join(worker.folder, 'known_hosts')
    const text = `# mine\n[127.0.0.1]:${sshd.port} ${type} ${key}\n`
    await writeFile(file, text)
    const before = execFileSync('ssh-keygen', ['-lf', `${old}.pub`], { encoding: 'utf8' }).split(' ')[1] as string
    const { keys } = await look()
    assert.deepEqual(keys[0]?.known_keys, [{ type, fingerprint: before, place: `${file}:2` }])
    await assert.rejects(look(fingerprint('ed25519')), (error: Error & { code?: string; remedy?: string }) => {
      assert.equal(error.code, 'MHV_SSH_HOST_KEY_CHANGED')
      for (const said of [before, fingerprint('ed25519'), `${file}:2`]) assert.ok(error.message.includes(said), said)
      assert.ok(error.remedy?.includes(`ssh-keygen -R '[127.0.0.1]:${sshd.port}' -f '${file}'`), error.remedy)
      return true
    })
    assert.equal(await ours(), text)
    await writeFile(file, `@revoked * ${type} ${key}\n`)
    assert.equal((await look()).keys[0]?.state, 'unknown')
  }),
)

test('looks through a jump host, whose own key has to be known', { skip }, async () => {
  const gate = await startSshd()
  try {
    await fresh(async () => {
      const through = (more: Partial<SshTarget> = {}) =>
        linkJumps(target({ proxy_jump: 'gate' }), () => targetOf(gate, more))
      const { keys } = await look(undefined, through())
      assert.equal(keys.length, 3)
      await assert.rejects(look(undefined, through({ known_hosts: [sshd.knownHostsFile] })), {
        code: 'MHV_SSH_HOST_KEY_UNKNOWN',
      })
    })
  } finally {
    await gate.stop()
  }
})

test('a host that is not there is an error, as ever', { skip }, () =>
  fresh(() => assert.rejects(look(undefined, target({ port: 1 })), { code: 'MHV_SSH_CONNECT_REFUSED' })),
)
