import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { recordingLog } from '../../../test/helpers/ssh-context.ts'
import {
  algorithmsFor,
  authorityLines,
  fingerprintOf,
  judgeHostKey,
  type KnownHostsFile,
  namesOf,
  readKnownHosts,
  recordHostKey,
  refusalOf,
} from './host-keys.ts'
import { parseKnownHosts } from './known-hosts.ts'

const folder = mkdtempSync(join(tmpdir(), 'mhv-host-keys-'))
after(() => rmSync(folder, { recursive: true }))

function makeKey(name: string, type: string) {
  const path = join(folder, name)
  execFileSync('ssh-keygen', ['-q', '-t', type, '-N', '', '-C', '', '-f', path])
  const text = readFileSync(`${path}.pub`, 'utf8').trim()
  return { path, text, key: Buffer.from(text.split(' ')[1] as string, 'base64') }
}

const ED = makeKey('ed', 'ed25519')
const OTHER_ED = makeKey('ed2', 'ed25519')
const RSA = makeKey('rsa', 'rsa')
const NAMES = namesOf('h.example', 22)
const log = recordingLog()

const file = (text: string, path = 'file'): KnownHostsFile => ({ path, ...parseKnownHosts(text) })
const judge = (text: string, key: Buffer, names = NAMES) => judgeHostKey([file(text)], names, key)

test('SSH-01: known, unknown, changed and revoked keys are told apart, with file and line', () => {
  assert.deepEqual(judge(`h.example ${ED.text}`, ED.key), {
    kind: 'known',
    type: 'ssh-ed25519',
    fingerprint: fingerprintOf(ED.key),
    place: 'file:1',
  })
  assert.equal(judge(`other.example ${ED.text}`, ED.key).kind, 'unknown')
  assert.deepEqual(judge(`# c\nh.example ${OTHER_ED.text}`, ED.key).kind, 'changed')
  assert.deepEqual(judge(`# c\nh.example ${OTHER_ED.text}`, ED.key).place, 'file:2')
  assert.equal(judge(`h.example ${ED.text}\n@revoked * ${ED.text}`, ED.key).kind, 'revoked')
  assert.equal(judge(`h.example ${OTHER_ED.text}\nh.example ${ED.text}`, ED.key).kind, 'known')
})

test('SSH-01: a host of which another type of key is known is not new', () => {
  assert.equal(judge(`h.example ${RSA.text}`, ED.key).kind, 'changed')
  assert.equal(judge(`@revoked h.example ${RSA.text}`, ED.key).kind, 'unknown')
  assert.equal(judge(`@cert-authority h.example ${ED.text}`, ED.key).kind, 'unknown')
})

test('several files are one; a revocation in any of them counts', () => {
  const known = file(`h.example ${ED.text}`, 'a')
  const revoked = file(`@revoked h.example ${ED.text}`, 'b')
  assert.equal(judgeHostKey([known, revoked], NAMES, ED.key).place, 'b:1')
  assert.equal(judgeHostKey([file(''), known], NAMES, ED.key).place, 'a:1')
})

test('beyond port 22 the name with the port is looked for first, then the plain one; an alias stands alone', () => {
  assert.deepEqual(namesOf('H.example', 2222), ['[h.example]:2222', 'h.example'])
  assert.deepEqual(namesOf('h.example', 2222, 'alias'), ['alias'])
  const names = namesOf('h.example', 2222)
  assert.equal(judge(`[h.example]:2222 ${ED.text}`, ED.key, names).kind, 'known')
  assert.equal(judge(`h.example ${ED.text}`, ED.key, names).kind, 'known')
  assert.equal(judge(`[h.example]:2223 ${ED.text}`, ED.key, names).kind, 'unknown')
})

test('algorithms of known key types are asked for first, RSA never with SHA-1', () => {
  assert.deepEqual(algorithmsFor([file(`h.example ${RSA.text}`)], NAMES).slice(0, 3), [
    'rsa-sha2-512',
    'rsa-sha2-256',
    'ssh-ed25519',
  ])
  assert.equal(algorithmsFor([file(`h.example ${ED.text}`)], NAMES)[0], 'ssh-ed25519')
  assert.ok(!algorithmsFor([], NAMES).includes('ssh-rsa'))
})

test('fingerprints are those of ssh-keygen -l', () => {
  for (const { path, key } of [ED, RSA]) {
    assert.ok(execFileSync('ssh-keygen', ['-l', '-f', path], { encoding: 'utf8' }).includes(` ${fingerprintOf(key)} `))
  }
})

test('refusals name host, type, fingerprint and line', () => {
  const changed = refusalOf(judge(`h.example ${OTHER_ED.text}`, ED.key), 'h.example:22')
  assert.equal(changed?.code, 'MHV_SSH_HOST_KEY_CHANGED')
  assert.ok(changed?.message.includes(fingerprintOf(ED.key)) && changed.message.includes('file:1'))
  assert.equal(refusalOf(judge('', ED.key), 'h')?.code, 'MHV_SSH_HOST_KEY_UNKNOWN')
  assert.equal(refusalOf(judge(`@revoked * ${ED.text}`, ED.key), 'h')?.code, 'MHV_SSH_HOST_KEY_REVOKED')
  assert.equal(refusalOf(judge(`h.example ${ED.text}`, ED.key), 'h'), undefined)
})

test('SSH-01: no readable file is a refusal under strict; an unreadable one always is', async () => {
  const missing = join(folder, 'missing')
  const there = join(folder, 'there')
  const directory = join(folder, 'directory')
  writeFileSync(there, `h.example ${ED.text}\nbad line\n`)
  mkdirSync(directory)
  const unreadable = { code: 'MHV_SSH_KNOWN_HOSTS_UNREADABLE' }
  await assert.rejects(readKnownHosts([missing, missing], 'strict', log), unreadable)
  assert.deepEqual(await readKnownHosts([missing], 'accept_new', log), [])
  assert.equal((await readKnownHosts([missing, there], 'strict', log)).length, 1)
  for (const policy of ['strict', 'accept_new'] as const) {
    await assert.rejects(readKnownHosts([there, directory], policy, log), unreadable)
  }
  assert.deepEqual(log.lines.find((line) => line.level === 'warn')?.fields, { file: there, count: 1, first_line: 2 })
})

test('a file that only root may read is a refusal for others', {
  skip: process.getuid?.() !== 0 && 'needs root',
}, () => {
  const path = join(folder, 'closed')
  writeFileSync(path, '', { mode: 0o600 })
  const program = `
    import { readKnownHosts } from ${JSON.stringify(new URL('./host-keys.ts', import.meta.url).href)}
    process.setuid(65534)
    const log = { debug() {}, info() {}, warn() {}, error() {} }
    await readKnownHosts([${JSON.stringify(path)}], 'accept_new', log).then(
      () => console.log('read'), (error) => console.log(error.code, error.message.includes('EACCES')))`
  const out = execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' })
  assert.equal(out, 'MHV_SSH_KNOWN_HOSTS_UNREADABLE true\n')
})

test('SSH-01: a file that is no regular one, or too large, is a refusal that says so, at once', async () => {
  const pipe = join(folder, 'pipe')
  const huge = join(folder, 'huge')
  const most = join(folder, 'most')
  execFileSync('mkfifo', [pipe])
  for (const path of [huge, most]) writeFileSync(path, `h.example ${ED.text}\n#`)
  truncateSync(huge, 8 * 1024 * 1024 + 1)
  truncateSync(most, 8 * 1024 * 1024)
  const bad = {
    [pipe]: 'is no regular file',
    '/dev/zero': 'is no regular file',
    [huge]: 'is larger than 8388608 bytes',
  }
  for (const [path, why] of Object.entries(bad)) {
    const refused = { code: 'MHV_SSH_KNOWN_HOSTS_UNREADABLE', message: `${path} ${why}` }
    for (const policy of ['strict', 'accept_new'] as const) {
      await assert.rejects(readKnownHosts([most, path], policy, log), refused)
    }
    await assert.rejects(recordHostKey(path, NAMES, ED.key, log), refused)
  }
  const read = await readKnownHosts([most, '/dev/null'], 'strict', log)
  assert.equal(judgeHostKey(read, NAMES, ED.key).kind, 'known')
})

test('a new key is written once, to our file only, with mode 0600, even by many at once', async () => {
  const path = join(folder, 'ours')
  const verdicts = await Promise.all(Array.from({ length: 20 }, () => recordHostKey(path, NAMES, ED.key, log)))
  assert.ok(verdicts.every((verdict) => verdict.kind === 'known'))
  assert.equal(readFileSync(path, 'utf8'), `h.example ${ED.text}\n`)
  assert.equal(statSync(path).mode & 0o777, 0o600)
  await recordHostKey(path, namesOf('other.example', 2222), RSA.key, log)
  assert.equal(readFileSync(path, 'utf8').split('\n').length, 3)
})

test('of two keys for one new host at once, the second is changed and is not written', async () => {
  const path = join(folder, 'race')
  const verdicts = await Promise.all([ED.key, OTHER_ED.key].map((key) => recordHostKey(path, NAMES, key, log)))
  assert.deepEqual(
    verdicts.map((verdict) => verdict.kind),
    ['known', 'changed'],
  )
  assert.equal(readFileSync(path, 'utf8'), `h.example ${ED.text}\n`)
})

test('a file without a line break at its end gets one first; one that cannot be written is a refusal', async () => {
  const path = join(folder, 'open-end')
  writeFileSync(path, `other.example ${ED.text}`)
  await recordHostKey(path, NAMES, ED.key, log)
  assert.equal(readFileSync(path, 'utf8'), `other.example ${ED.text}\nh.example ${ED.text}\n`)
  await assert.rejects(recordHostKey(join(folder, 'no', 'such', 'folder'), NAMES, ED.key, log), {
    code: 'MHV_SSH_KNOWN_HOSTS_UNREADABLE',
  })
})

test('certificate authorities that name the host are pointed at', () => {
  assert.deepEqual(authorityLines([file(`\n@cert-authority *.example ${ED.text}`)], NAMES), ['file:2'])
})
