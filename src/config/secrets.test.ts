import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { inspect } from 'node:util'
import { makePipe } from '../../test/fixtures/config/loading.ts'
import { instanceFolder } from '../../test/fixtures/config/workers.ts'
import type { SecretReference } from '../core/context.ts'
import type { MhvError } from '../core/errors.ts'
import { createSecretResolver, MAX_SECRET_BYTES, SECRET_TTL_MS } from './secrets.ts'

const SECRET = 'correct-horse'

function setUp(files: Record<string, string | Uint8Array> = {}, env: Record<string, string> = {}) {
  const folder = instanceFolder(files)
  for (const path of Object.keys(files)) chmodSync(join(folder, path), 0o600)
  const seen: [string, string][] = []
  let now = 0
  const resolver = createSecretResolver({
    folder,
    env,
    onResolved: (value, reference) => seen.push([value, reference]),
    monotonic: () => now,
  })
  return { folder, seen, resolver, pass: (ms: number) => (now += ms) }
}

async function fails(resolve: Promise<unknown>, code: string, message: RegExp): Promise<MhvError> {
  const error = await resolve.then(
    () => assert.fail('was resolved'),
    (thrown: MhvError) => thrown,
  )
  assert.equal(error.code, code)
  assert.match(error.message, message)
  assert.doesNotMatch(inspect(error, { depth: 9 }), new RegExp(SECRET))
  return error
}

test('a secret comes from a variable, a file, or a program', async () => {
  const { resolver, seen, folder } = setUp(
    { 'secrets/token': `${SECRET}\n`, 'give.sh': '#!/bin/sh\necho "$1-$PWD"' },
    { TOKEN: SECRET },
  )
  chmodSync(join(folder, 'give.sh'), 0o700)
  const cases: [SecretReference, string, string][] = [
    ['env:TOKEN', SECRET, 'env:TOKEN'],
    ['file:secrets/token', SECRET, 'file:secrets/token'],
    [`file:${folder}/secrets/token`, SECRET, `file:${folder}/secrets/token`],
    [`exec:printf %s ${SECRET}`, SECRET, 'exec:printf'],
    [{ exec: ['printf', '%s', `${SECRET} with spaces`] }, `${SECRET} with spaces`, 'exec:printf'],
    [{ exec: ['./give.sh', '$(id)'] }, `$(id)-${folder}`, 'exec:./give.sh'],
  ]
  for (const [reference, value, shown] of cases) {
    const secret = await resolver.resolve(reference)
    assert.equal(secret.reveal(), value)
    assert.equal(secret.reference, shown)
    assert.deepEqual(seen.at(-1), [value, shown])
    assert.doesNotMatch(`${secret} ${JSON.stringify(secret)} ${inspect(secret)}`, new RegExp(SECRET))
  }
})

test('a file in the home folder, by ~/', async () => {
  const home = instanceFolder({ token: SECRET })
  chmodSync(join(home, 'token'), 0o600)
  const { resolver } = setUp({}, { HOME: home })
  assert.equal((await resolver.resolve('file:~/token')).reveal(), SECRET)
  await fails(resolver.resolve('file:~root/token'), 'MHV_SECRET_INVALID', /only ~\//)
})

test('one trailing newline is taken off, no more', async () => {
  const { resolver } = setUp({ one: `${SECRET}\n`, two: `${SECRET}\n\n`, crlf: `${SECRET}\r\n`, none: ` ${SECRET}\t` })
  const read = async (name: string) => (await resolver.resolve(`file:${name}`)).reveal()
  assert.deepEqual(await Promise.all(['one', 'two', 'crlf', 'none'].map(read)), [
    SECRET,
    `${SECRET}\n`,
    SECRET,
    ` ${SECRET}\t`,
  ])
})

test('a file that others may read or write is refused, with the command that closes it', async () => {
  const { resolver, folder } = setUp({ token: SECRET })
  for (const mode of [0o644, 0o640, 0o604, 0o620, 0o602, 0o610]) {
    chmodSync(join(folder, 'token'), mode)
    const error = await fails(resolver.resolve('file:token'), 'MHV_SECRET_UNRESOLVED', /open to other users \(mode 0/)
    assert.match(error.remedy, /chmod 600 .*token/)
  }
  chmodSync(join(folder, 'token'), 0o400)
  assert.equal((await resolver.resolve('file:token')).reveal(), SECRET)
})

test('a link is followed to what it names, and that is what must be closed', async () => {
  const { resolver, folder } = setUp({ real: SECRET })
  symlinkSync(join(folder, 'real'), join(folder, 'link'))
  assert.equal((await resolver.resolve('file:link')).reveal(), SECRET)
  chmodSync(join(folder, 'real'), 0o644)
  await fails(setUp().resolver.resolve(`file:${folder}/link`), 'MHV_SECRET_UNRESOLVED', /open to other users/)
})

test('what is no regular file, too big, not text, too short or not there is refused', async () => {
  const { resolver, folder } = setUp({
    big: 'x'.repeat(MAX_SECRET_BYTES + 1),
    limit: 'x'.repeat(MAX_SECRET_BYTES),
    bytes: Buffer.from([0xff, 0xfe, 0xfd, 0xfc, 0xfb]),
    short: 'abc\n',
    blank: '        \n',
  })
  mkdirSync(join(folder, 'folder'))
  await makePipe(join(folder, 'pipe'))
  await fails(resolver.resolve('file:folder'), 'MHV_SECRET_UNRESOLVED', /is a directory/)
  await fails(resolver.resolve('file:pipe'), 'MHV_SECRET_UNRESOLVED', /is not a regular file/)
  await fails(resolver.resolve('file:/dev/zero'), 'MHV_SECRET_UNRESOLVED', /is not a regular file/)
  await fails(resolver.resolve('file:big'), 'MHV_SECRET_UNRESOLVED', /larger than 65536 bytes/)
  assert.equal((await resolver.resolve('file:limit')).reveal().length, MAX_SECRET_BYTES)
  await fails(resolver.resolve('file:bytes'), 'MHV_SECRET_INVALID', /not UTF-8/)
  await fails(resolver.resolve('file:short'), 'MHV_SECRET_INVALID', /fewer than 4 characters/)
  await fails(resolver.resolve('file:blank'), 'MHV_SECRET_INVALID', /fewer than 4 characters/)
  await fails(resolver.resolve('file:missing'), 'MHV_SECRET_UNRESOLVED', /missing does not exist/)
  await fails(resolver.resolve('env:MISSING'), 'MHV_SECRET_UNRESOLVED', /variable MISSING is not set/)
  await fails(resolver.resolve('env:toString'), 'MHV_SECRET_UNRESOLVED', /is not set/)
})

test('a program that fails, is missing, gives too much, or hangs is no secret; its words are not repeated', async () => {
  const { resolver } = setUp()
  const run = (script: string) => resolver.resolve({ exec: ['sh', '-c', script] })
  const invalid = 'MHV_SECRET_INVALID'
  const unresolved = 'MHV_SECRET_UNRESOLVED'
  await fails(run(`echo ${SECRET}; echo ${SECRET} >&2; exit 3`), unresolved, /^exec:sh ended with exit code 3$/)
  await fails(run('kill -9 $$'), unresolved, /ended with SIGKILL/)
  await fails(run(`yes ${SECRET} | head -c 100000`), unresolved, /gave more than 65536 bytes/)
  await fails(run('printf "\\377\\376\\375\\374"'), invalid, /not UTF-8/)
  await fails(run('true'), invalid, /fewer than 4/)
  await fails(
    resolver.resolve({ exec: ['no-such-program', SECRET] }),
    unresolved,
    /exec:no-such-program.*cannot be run/,
  )
})

test('a program that hangs is ended after ten seconds', { timeout: 30_000 }, async () => {
  const { resolver } = setUp()
  const before = Date.now()
  await fails(resolver.resolve({ exec: ['sleep', '600'] }), 'MHV_SECRET_UNRESOLVED', /took longer than 10 s/)
  assert.ok(Date.now() - before >= 9_900 && Date.now() - before < 20_000)
})

test('a program sees neither the secrets of our environment nor a shell', async () => {
  process.env['MHV_TEST_SECRET'] = SECRET
  try {
    const { resolver, folder } = setUp({}, { MHV_TEST_SECRET: SECRET })
    assert.doesNotMatch((await resolver.resolve('exec:env')).reveal(), /MHV_TEST_SECRET/)
    await resolver.resolve('exec:echo hello; touch pwned')
    await resolver.resolve('exec:echo $(touch pwned) `touch pwned` | touch pwned')
    assert.equal(existsSync(join(folder, 'pwned')), false)
  } finally {
    delete process.env['MHV_TEST_SECRET']
  }
})

test('the value in place of a reference is refused and not repeated', async () => {
  const { resolver } = setUp()
  for (const wrong of [
    SECRET,
    `env:${SECRET}`,
    '',
    'exec:',
    'exec:-x',
    'file:',
    `file:a\n${SECRET}`,
    { exec: [] },
    { exec: ['-x'] },
    5,
    null,
  ]) {
    const error = await fails(
      resolver.resolve(wrong as SecretReference),
      'MHV_SECRET_INVALID',
      /not a reference to a secret/,
    )
    assert.match(error.remedy, /env:NAME/)
  }
})

test('a secret is read once in a while, by all that ask at once, and a failure is not remembered', async () => {
  const { resolver, folder, seen, pass } = setUp({
    'count.sh': '#!/bin/sh\necho x >> count; echo secret-$(wc -l < count)',
  })
  chmodSync(join(folder, 'count.sh'), 0o700)
  const read = async () => (await resolver.resolve({ exec: ['./count.sh'] })).reveal()
  const times = () => readFileSync(join(folder, 'count'), 'utf8').length / 2
  const values = await Promise.all([read(), read(), read()])
  assert.deepEqual([new Set(values).size, times(), seen.length], [1, 1, 1])
  pass(SECRET_TTL_MS - 1)
  await read()
  assert.equal(times(), 1)
  pass(1)
  await read()
  assert.equal(times(), 2)

  await fails(resolver.resolve('file:later'), 'MHV_SECRET_UNRESOLVED', /does not exist/)
  writeFileSync(join(folder, 'later'), SECRET, { mode: 0o600 })
  assert.equal((await resolver.resolve('file:later')).reveal(), SECRET)
})

test('nobody gets a value before it is masked', async () => {
  const order: string[] = []
  const resolver = createSecretResolver({
    folder: instanceFolder(),
    env: { TOKEN: SECRET },
    onResolved: () => order.push('masked'),
  })
  await resolver.resolve('env:TOKEN').then(() => order.push('given'))
  assert.deepEqual(order, ['masked', 'given'])
})
