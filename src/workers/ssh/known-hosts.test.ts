import assert from 'node:assert/strict'
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { hostName, keyType, knownHostsLine, matchesHost, parseKnownHosts } from './known-hosts.ts'

const folder = mkdtempSync(join(tmpdir(), 'mhv-known-hosts-'))
after(() => rmSync(folder, { recursive: true }))

function makeKey(name: string, type = 'ed25519'): string {
  const path = join(folder, name)
  execFileSync('ssh-keygen', ['-q', '-t', type, '-N', '', '-C', 'a comment', '-f', path])
  return readFileSync(`${path}.pub`, 'utf8').trim()
}

const ED = makeKey('ed')
const RSA = makeKey('rsa', 'rsa')
const EC = makeKey('ec', 'ecdsa')
const bare = (key: string) => key.split(' ').slice(0, 2).join(' ')

/** Line numbers that ssh-keygen finds for a name. */
function keygenFinds(text: string, name: string): number[] {
  const file = join(folder, 'find')
  writeFileSync(file, text)
  const { stdout } = spawnSync('ssh-keygen', ['-F', name, '-f', file], { encoding: 'utf8' })
  return [...stdout.matchAll(/^# Host .* found: line ([0-9]+)/gm)].map((match) => Number(match[1]))
}

function weFind(text: string, name: string): number[] {
  return parseKnownHosts(text)
    .lines.filter((line) => matchesHost(line.hosts, name))
    .map((line) => line.line)
}

test('a file with everything in it is read as ssh-keygen -F reads it', () => {
  const text = [
    '# a comment',
    '',
    `plain.example ${ED}`,
    `a.example,b.example ${bare(RSA)}`,
    `[plain.example]:2222 ${bare(EC)}`,
    `*.wild.example,!bad.wild.example ${ED}`,
    `10.0.0.? ${ED}`,
    `  \tindented.example \t ${ED} and a longer comment`,
    `@revoked plain.example ${bare(RSA)}`,
    `@cert-authority *.ca.example ${bare(EC)}`,
    `UPPER.example ${ED}`,
    `crlf.example ${bare(ED)}\r`,
    'host.only',
    'host.type ssh-ed25519',
    'host.bad ssh-ed25519 !!!!',
    `host.wrongtype ssh-rsa ${ED.split(' ')[1]}`,
    `@unknown-marker plain.example ${ED}`,
    `plain.example 1024 65537 1234567890`,
    `!only.negated.example ${ED}`,
    `last.example ${ED}`,
  ].join('\n')
  const parsed = parseKnownHosts(text)
  assert.deepEqual(parsed.malformed, [13, 14, 15, 16, 17, 18])
  const names = [
    'plain.example',
    'a.example',
    'b.example',
    '[plain.example]:2222',
    'x.wild.example',
    'bad.wild.example',
    '10.0.0.7',
    '10.0.0.77',
    'indented.example',
    'x.ca.example',
    'upper.example',
    'crlf.example',
    'only.negated.example',
    'last.example',
    'nowhere.example',
  ]
  for (const name of names) assert.deepEqual(weFind(text, name), keygenFinds(text, name), name)
  assert.equal(parsed.lines.find((line) => line.line === 9)?.marker, 'revoked')
  assert.equal(parsed.lines.find((line) => line.line === 10)?.marker, 'cert-authority')
  assert.equal(parsed.lines.find((line) => line.line === 4)?.type, 'ssh-rsa')
})

test('hashed lines of ssh-keygen -H are found by name and port, and by nothing else', () => {
  const file = join(folder, 'hashed')
  writeFileSync(file, `secret.example ${ED}\n[secret.example]:2222 ${bare(RSA)}\nmany.example,other.example ${ED}\n`)
  execFileSync('ssh-keygen', ['-q', '-H', '-f', file], { stdio: 'ignore' })
  const text = readFileSync(file, 'utf8')
  assert.ok(!text.includes('secret.example'))
  for (const name of ['secret.example', '[secret.example]:2222', 'many.example', 'other.example', 'secret.exampl']) {
    assert.deepEqual(weFind(text, name), keygenFinds(text, name), name)
  }
  assert.deepEqual(parseKnownHosts(text).malformed, [])
})

test('patterns match as in OpenSSH (property, against ssh-keygen -F)', () => {
  const letter = fc.constantFrom('a', 'b', '.', '*', '?')
  const pattern = fc
    .tuple(fc.boolean(), fc.array(letter, { minLength: 1, maxLength: 6 }))
    .map(([negated, letters]) => (negated ? '!' : '') + letters.join(''))
  const line = fc.array(pattern, { minLength: 1, maxLength: 4 }).map((patterns) => patterns.join(','))
  const name = fc
    .array(fc.constantFrom('a', 'b', '.'), { minLength: 1, maxLength: 6 })
    .map((letters) => letters.join(''))
  fc.assert(
    fc.property(fc.array(line, { minLength: 1, maxLength: 8 }), name, (lines, wanted) => {
      const text = lines.map((hosts) => `${hosts} ${ED}\n`).join('')
      assert.deepEqual(weFind(text, wanted), keygenFinds(text, wanted))
    }),
    { numRuns: 200 },
  )
})

test('no text makes the parser throw or take long (property)', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string(), (text, name) => {
      for (const line of parseKnownHosts(text).lines) matchesHost(line.hosts, name)
    }),
  )
  const started = performance.now()
  assert.equal(matchesHost(`${'*a'.repeat(5_000)}b`, 'a'.repeat(10_000)), false)
  assert.ok(performance.now() - started < 2_000)
  for (const hosts of ['|1|', '|1|a|b', '|2|AAAA|BBBB', '|', '|1|x|y|z']) assert.equal(matchesHost(hosts, 'x'), false)
})

test('names as they stand in the file', () => {
  assert.equal(hostName('Host.Example', 22), 'host.example')
  assert.equal(hostName('Host.Example', 2222), '[host.example]:2222')
  assert.equal(hostName('::1', 22), '::1')
  assert.equal(hostName('::1', 2222), '[::1]:2222')
  assert.equal(hostName('10.0.0.1', 2222, 'Alias'), 'alias')
})

test('a line of our own is read back, by us and by ssh-keygen', () => {
  const key = Buffer.from(ED.split(' ')[1] as string, 'base64')
  assert.equal(keyType(key), 'ssh-ed25519')
  const text = knownHostsLine('[h.example]:2222', key)
  assert.deepEqual(parseKnownHosts(text).lines[0]?.key, key)
  assert.deepEqual(keygenFinds(text, '[h.example]:2222'), [1])
})

test('what is no key has no type', () => {
  for (const bytes of ['', '00', '00000000', '0000000b', '00000003ff00ff', 'ffffffff41']) {
    assert.equal(keyType(Buffer.from(bytes, 'hex')), undefined, bytes)
  }
})
