import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import fc from 'fast-check'
import { parseSshConfig } from './parse.ts'
import { readConfigFiles } from './read.ts'
import { resolveHost } from './resolve.ts'

const folder = mkdtempSync(join(tmpdir(), 'mhv-ssh-config-'))
after(() => rmSync(folder, { recursive: true }))

function write(text: string, name = 'config'): string {
  const path = join(folder, name)
  writeFileSync(path, text, { mode: 0o600 })
  return path
}

async function resolve(text: string, host: string) {
  const { places, problems, ...values } = resolveHost(await readConfigFiles([write(text)]), host)
  const said = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined))
  return {
    ...said,
    ...(problems.length === 0 ? {} : { problems: problems.map(({ text }) => text.replace(folder, '')) }),
  }
}

test('the first value of each keyword counts, identity files add up', async () => {
  const text = `
Host web-*  !web-9
  HostName %h.example.org
  User "deploy user"
  IdentityFile ~/.ssh/%r
  Port=2222
Host *
  User other
  Port 22
  IdentityFile "~/with space"   # mine
  IdentitiesOnly yes
`
  assert.deepEqual(await resolve(text, 'web-1'), {
    hostName: 'web-1.example.org',
    user: 'deploy user',
    port: 2222,
    identityFiles: ['~/.ssh/deploy user', '~/with space'],
    identitiesOnly: true,
  })
  assert.deepEqual(await resolve(text, 'web-9'), {
    user: 'other',
    port: 22,
    identityFiles: ['~/with space'],
    identitiesOnly: true,
  })
})

test('jump hosts, known_hosts files and an alias', async () => {
  const text = `
Host inner
  ProxyJump deploy@gate-1:2200,gate-2
  UserKnownHostsFile ~/.ssh/a "/etc/with space"
  HostKeyAlias box
Host direct
  ProxyJump none
  UserKnownHostsFile none
Host old
  ProxyCommand nc -X 5 %h %p
  ProxyJump too-late
Host *
  ProxyJump gate-3
`
  assert.deepEqual(await resolve(text, 'inner'), {
    proxyJump: ['deploy@gate-1:2200', 'gate-2'],
    knownHosts: ['~/.ssh/a', '/etc/with space'],
    hostKeyAlias: 'box',
  })
  assert.deepEqual(await resolve(text, 'direct'), { proxyJump: [], knownHosts: [] })
  assert.deepEqual(await resolve(text, 'old'), { proxyCommand: 'nc -X 5 %h %p' })
  assert.deepEqual(await resolve(text, 'any'), { proxyJump: ['gate-3'] })
})

test('Match is never looked into, but for the one that always matches', async () => {
  const marker = join(folder, 'executed')
  const text = `
Match exec "touch ${marker}"
  User wrong
Match host any
  User wrong
Match all
  User right
`
  assert.deepEqual(await resolve(text, 'any'), { user: 'right' })
  assert.throws(() => utimesSync(marker, 0, 0), { code: 'ENOENT' })
})

test('lines that cannot be used are told with their place, and only where they are about the host', async () => {
  const text = `
Host bad
  Port ssh
  User "open
  IdentityFile ~/\${KEY}
  IdentitiesOnly maybe
  HostName a b
  HostKeyAlias %x*
  UserKnownHostsFile %q
  ProxyJump
`
  assert.deepEqual(await resolve(text, 'good'), {})
  assert.deepEqual(await resolve(text, 'bad'), {
    identityFiles: [],
    knownHosts: [],
    problems: [
      '/config:4: User has a quote that is not closed',
      '/config:7: HostName has more than one value',
      '/config:10: ProxyJump has no value',
      '/config:3: is no port number',
      '/config:5: variables of the environment are not expanded',
      '/config:6: is neither yes nor no',
      '/config:9: the token %q is not expanded',
      '/config:8: is no name that can be used',
    ],
  })
})

test('included files count where they are included, in the order of their names', async () => {
  mkdirSync(join(folder, 'conf.d'))
  write('User first\n', 'conf.d/1')
  write('User second\nHost other\nPort 23\nHost *\nPort 24\n', 'conf.d/2')
  const text = `Host a b\nInclude ${folder}/conf.d/* ${folder}/missing\nHost *\nUser last\n`
  assert.deepEqual(await resolve(text, 'a'), { user: 'first', port: 24 })
  assert.deepEqual(await resolve(text, 'other'), { user: 'last' })
  const circle = write(`Include ${folder}/circle\n`, 'circle')
  assert.match(resolveHost(await readConfigFiles([circle]), 'a').problems[0]?.text ?? '', /more than 16 deep/)
})

test('a file is read again when it has changed', async () => {
  assert.deepEqual(await resolve('User one\n', 'h'), { user: 'one' })
  assert.deepEqual(await resolve('User two\n', 'h'), { user: 'two' })
})

test('a file that may not be trusted, is too large or no file is not used', async () => {
  const problem = async (path: string) => resolveHost(await readConfigFiles([path]), 'h').problems[0]?.text
  const open = write('User x\n', 'open')
  chmodSync(open, 0o622)
  assert.match((await problem(open)) ?? '', /may be written by others/)
  assert.match((await problem(write('# '.repeat(200_000), 'large'))) ?? '', /is larger than 262144 bytes/)
  assert.match((await problem(folder)) ?? '', /is no regular file/)
  const pipe = join(folder, 'pipe')
  execFileSync('mkfifo', [pipe])
  assert.match((await problem(pipe)) ?? '', /is no regular file/)
  assert.equal(await problem(join(folder, 'missing')), undefined)
  assert.equal(await problem(join(open, 'below')), undefined)
})

test('no text takes long or throws', () => {
  const started = performance.now()
  parseSshConfig('Host '.concat('"\\'.repeat(100_000)))
  parseSshConfig('=\n'.repeat(100_000))
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 500 }), (text) => {
      for (const { line } of parseSshConfig(text)) assert.ok(line >= 1)
    }),
    { seed: 5, numRuns: 300 },
  )
  assert.ok(performance.now() - started < 5_000)
})

/** What OpenSSH itself makes of a file. */
function oracle(path: string, host: string): Record<string, string[]> | undefined {
  let shown: string
  try {
    shown = execFileSync('ssh', ['-G', '-F', path, '--', host], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    })
  } catch {
    return undefined
  }
  const found: Record<string, string[]> = {}
  for (const line of shown.split('\n')) {
    const [keyword = '', ...rest] = line.split(' ')
    found[keyword] ??= []
    found[keyword].push(rest.join(' '))
  }
  return found
}

const name = fc.constantFrom('web-1', 'web-2', 'db', 'db.example')
const pattern = fc.constantFrom('*', 'web-*', '!web-2', 'db', 'db*', '?b', '!db.*', '"web-1"')
const quoted = (word: string) => fc.constantFrom(word, `"${word}"`, `${word}  # note`, `'${word}'`)
const separator = fc.constantFrom(' ', '=', ' = ', '\t')
const setting = fc
  .oneof(
    fc.tuple(fc.constantFrom('User', 'user', 'USER'), fc.constantFrom('ann', 'bob').chain(quoted)),
    fc.tuple(fc.constant('Port'), fc.constantFrom('22', '2222').chain(quoted)),
    fc.tuple(fc.constant('HostName'), fc.constantFrom('%h.example', '10.0.0.1', 'h').chain(quoted)),
    fc.tuple(fc.constant('HostKeyAlias'), fc.constantFrom('one', 'two').chain(quoted)),
    fc.tuple(
      fc.constant('IdentityFile'),
      fc.constantFrom('/k/a', '/k/b c', '/k/%h').map((path) => `"${path}"`),
    ),
    fc.tuple(fc.constant('IdentitiesOnly'), fc.constantFrom('yes', 'no', 'true')),
    fc.tuple(fc.constant('ProxyJump'), fc.constantFrom('gate', 'u@gate:2200', 'a,b', 'none')),
    fc.tuple(fc.constant('UserKnownHostsFile'), fc.constantFrom('/k/1', '/k/1 "/k/2 3"')),
  )
  .chain(([keyword, value]) => separator.map((between) => `  ${keyword}${between}${value}`))
const block = fc
  .tuple(fc.array(pattern, { minLength: 1, maxLength: 3 }), fc.array(setting, { maxLength: 4 }))
  .map(([patterns, lines]) => [`Host ${patterns.join(' ')}`, ...lines].join('\n'))

test('what a file says of a host is what OpenSSH says of it', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(setting, { maxLength: 2 }),
      fc.array(block, { maxLength: 4 }),
      name,
      async (top, blocks, host) => {
        const path = write([...top, ...blocks, ''].join('\n'), 'generated')
        const expected = oracle(path, host)
        fc.pre(expected !== undefined)
        const ours = resolveHost(await readConfigFiles([path]), host)
        assert.deepEqual(ours.problems, [])
        assert.equal(ours.hostName ?? host, expected?.hostname?.[0])
        if (ours.user !== undefined) assert.equal(ours.user, expected?.user?.[0])
        assert.equal(String(ours.port ?? 22), expected?.port?.[0])
        assert.equal(ours.hostKeyAlias, expected?.hostkeyalias?.[0])
        assert.equal(ours.identitiesOnly ?? false, expected?.identitiesonly?.[0] === 'yes')
        const jump = ours.proxyJump?.join(',') ?? ''
        assert.equal(jump, expected?.proxyjump?.[0] ?? '')
        if (ours.knownHosts !== undefined) assert.equal(ours.knownHosts.join(' '), expected?.userknownhostsfile?.[0])
        if (ours.identityFiles !== undefined) {
          const shown = expected?.identityfile?.map((file) =>
            file.replace(/^~/, homedir()).replaceAll('%h', ours.hostName ?? host),
          )
          assert.deepEqual(ours.identityFiles, shown)
        }
      },
    ),
    { seed: 11, numRuns: 120 },
  )
})
