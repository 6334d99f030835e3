import assert from 'node:assert/strict'
import { mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { hostFiles, hostFolder, makeHostFolder } from '../host/host-folder.ts'
import { sessionEnvironment } from './environment.ts'
import { startFolder, startProgram } from './start-place.ts'

let root = ''
before(async () => {
  root = await realpath(await mkdtemp(join(tmpdir(), 'mahavishnu-place-')))
  for (const name of ['home/project/deep', 'homes', 'secret']) await mkdir(join(root, name), { recursive: true })
  await symlink(join(root, 'secret'), join(root, 'home/out'))
  await symlink(join(root, 'home/project'), join(root, 'in'))
  await writeFile(join(root, 'home/file'), '', { mode: 0o644 })
})
after(() => rm(root, { recursive: true, force: true }))

const place = (wanted: string | undefined, allowed: string[]) => startFolder(wanted, allowed, root, join(root, 'home'))

test('a session starts in an allowed folder or below, links resolved', async () => {
  assert.equal(await place(undefined, ['~']), join(root, 'home'))
  assert.equal(await place('~/project/deep', ['~']), join(root, 'home/project/deep'))
  assert.equal(await place(join(root, 'in'), ['~/project']), join(root, 'home/project'))
  assert.equal(await place(join(root, 'secret'), ['~', 'secret']), join(root, 'secret'))
})

for (const [title, wanted] of [
  ['beside an allowed one whose name it begins with', 'homes'],
  ['that a link leads out to', 'home/out'],
  ['that dots lead out to', 'home/../secret'],
  ['that is not there', 'home/nowhere'],
  ['that is a file', 'home/file'],
] as const) {
  test(`a folder ${title} is refused`, async () => {
    await assert.rejects(place(join(root, wanted), ['~']), { code: 'MHV_TERMINAL_DIRECTORY' })
  })
}

test('a relative folder and one with a null character are refused', async () => {
  await assert.rejects(place('work', ['~']), { code: 'MHV_TERMINAL_DIRECTORY' })
  await assert.rejects(place(`${root}/home\0/x`, ['~']), { code: 'MHV_TERMINAL_DIRECTORY' })
})

test('a program is found in PATH, or by its path from the folder on; what is none is refused before the start', async () => {
  const env = { PATH: '/nonexistent:/bin:/usr/bin' }
  assert.match((await startProgram(['sh', '-c', 'true'], env, root)).file, /\/bin\/sh$/)
  const login = await startProgram(null, { SHELL: '/bin/not-this' }, root, { SHELL: '/bin/own' })
  assert.deepEqual(login, { file: '/bin/own', args: ['-l'] })
  for (const command of [['no-such-program'], ['./home/file'], ['./home'], [''], [], ['sh', 'a\0b']]) {
    await assert.rejects(startProgram(command, env, root), { code: 'MHV_TERMINAL_NOT_STARTED' })
  }
})

test('a session gets the variables that are listed, and nothing else of ours', () => {
  const own = { PATH: '/bin', HOME: '/root', LD_PRELOAD: 'x.so', AWS_SECRET_ACCESS_KEY: 'x', EDITOR: 'vi' }
  const env = sessionEnvironment({ term: 'xterm', passed: ['EDITOR', 'MISSING'], given: { LC_ALL: 'C' } }, own)
  assert.deepEqual(env, { PATH: '/bin', HOME: '/root', EDITOR: 'vi', LC_ALL: 'C', TERM: 'xterm' })
})

for (const name of [
  'LD_PRELOAD',
  'DYLD_X',
  'PATH',
  'BASH_ENV',
  'NODE_OPTIONS',
  'TERM',
  'A=B',
  '',
  '1A',
  'BASH_FUNC_ls',
]) {
  test(`the variable ${JSON.stringify(name)} is refused without its value`, () => {
    const given = { [name]: 'the-value' }
    assert.throws(
      () => sessionEnvironment({ term: 'xterm', passed: [], given }, {}),
      (error: Error & { code: string }) =>
        error.code === 'MHV_TERMINAL_ENVIRONMENT' && !error.message.includes('the-value'),
    )
  })
}

test('a value with a null character, too many bytes and a strange terminal type are refused', () => {
  const check = (term: string, given: Record<string, string>) => () =>
    sessionEnvironment({ term, passed: [], given }, {})
  assert.throws(check('xterm', { A: 'a\0b' }), { code: 'MHV_TERMINAL_ENVIRONMENT' })
  assert.throws(check('xterm', { A: 'a'.repeat(70_000) }), { code: 'MHV_TERMINAL_ENVIRONMENT' })
  assert.throws(check('../xterm', {}), { code: 'MHV_TERMINAL_ENVIRONMENT' })
})

test('the socket of an instance with a long path lies in a folder of this user', () => {
  assert.equal(hostFolder('/project/mahavishnu', {}), '/project/mahavishnu/terminal')
  const long = `/project/${'x'.repeat(90)}`
  const short = hostFolder(long, { XDG_RUNTIME_DIR: '/run/user/1000' })
  assert.match(short, /^\/run\/user\/1000\/mahavishnu-\d+-[0-9a-f]{16}$/)
  assert.match(hostFolder(long, {}), /^\/tmp\/mahavishnu-/)
  assert.match(hostFolder(long, { XDG_RUNTIME_DIR: `/run/${'y'.repeat(90)}` }), /^\/tmp\//)
  assert.ok(hostFiles(short).socket.length < 104)
  assert.notEqual(short, hostFolder(`${long}y`, { XDG_RUNTIME_DIR: '/run/user/1000' }))
})

test('a folder for the socket that others may enter, or that is a link, is refused', async () => {
  await mkdir(join(root, 'open'), { mode: 0o755 })
  assert.throws(() => makeHostFolder(join(root, 'open')), { code: 'MHV_TERMINAL_HOST_DOWN' })
  await mkdir(join(root, 'closed'), { mode: 0o700 })
  makeHostFolder(join(root, 'closed'))
  await symlink(join(root, 'closed'), join(root, 'link'))
  assert.throws(() => makeHostFolder(join(root, 'link')), { code: 'MHV_TERMINAL_HOST_DOWN' })
})
