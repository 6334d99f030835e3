import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, mkdir, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, suite, test } from 'node:test'
import { promisify } from 'node:util'
import { ERROR_TABLE, type ErrorCode } from '../../src/core/error-table.ts'
import { type SshInstanceOptions, sshInstance } from '../helpers/ssh-instance.ts'
import { makeUser, type SystemUser } from '../helpers/ssh-user.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

const run = promisify(execFile)
const BIN = join(import.meta.dirname, '../../src/bin.ts')

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

async function cli(...args: string[]): Promise<Ended> {
  const { PATH, NODE_COMPILE_CACHE } = process.env
  const options = { env: { PATH, NODE_COMPILE_CACHE, HOME: '/nonexistent' }, timeout: 60_000 }
  return run(process.execPath, [BIN, ...args], options).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
  )
}

/** Every refusal is told the same way: the code and its remedy on stderr, nothing on stdout, the code's own exit code. */
function refused(ended: Ended, code: ErrorCode): void {
  assert.match(ended.stderr, new RegExp(`^error ${code}: `, 'm'), ended.stderr)
  assert.match(ended.stderr, /^fix: \S/m)
  assert.equal(ended.code, ERROR_TABLE[code].exit)
  assert.equal(ended.stdout, '')
}

suite('bad input gets a clear error, through the whole program', { skip: sshdMissing() ?? false }, () => {
  let sshd: Sshd
  const folders: string[] = []
  before(async () => {
    sshd = await startSshd({ config: ['PasswordAuthentication yes'] })
  })
  after(async () => {
    await sshd.stop()
    for (const folder of folders) await rm(folder, { recursive: true, force: true })
  })

  async function instance(options: SshInstanceOptions = {}): Promise<string> {
    const folder = await sshInstance(sshd, options)
    folders.push(folder)
    return folder
  }

  const touch = (folder: string, ...more: string[]) =>
    cli('ssh', 'execute', 'box', '--folder', folder, ...more, '--', `touch ${folder}/acted`)

  async function nothingRan(folder: string): Promise<void> {
    await assert.rejects(readFile(join(folder, 'acted')), { code: 'ENOENT' })
  }

  test('unknown target', async () => {
    const folder = await instance()
    const ended = await cli('ssh', 'execute', 'bxo', '--folder', folder, '--', 'true')
    refused(ended, 'MHV_TARGET_UNKNOWN')
    assert.match(ended.stderr, /did you mean "box"/)
  })

  test('unknown key in the settings, with file, line, column and the nearest key', async () => {
    const folder = await instance()
    await appendFile(join(folder, 'settings/mahavishnu.yaml'), '  max_conections: 3\n')
    const ended = await touch(folder)
    refused(ended, 'MHV_CONFIG_UNKNOWN_KEY')
    assert.match(ended.stderr, /mahavishnu\.yaml:\d+:\d+.*max_connections/)
    await nothingRan(folder)
  })

  test('a setting of the wrong type', async () => {
    const folder = await instance({ ssh: { max_connections: 'many' } })
    refused(await touch(folder), 'MHV_CONFIG_INVALID')
    await nothingRan(folder)
  })

  test('a host name beginning with a dash', async () => {
    const folder = await instance({ target: { host: '-oProxyCommand=id' } })
    refused(await touch(folder), 'MHV_INVENTORY_INVALID')
  })

  test('wrong host key', async () => {
    const folder = await instance()
    const other = await startSshd()
    const theirs = (await readFile(other.knownHostsFile, 'utf8')).replaceAll(`:${other.port}`, `:${sshd.port}`)
    await other.stop()
    await writeFile(join(folder, 'known_hosts'), theirs)
    const ended = await touch(folder)
    refused(ended, 'MHV_SSH_HOST_KEY_CHANGED')
    assert.match(ended.stderr, /SHA256:/)
    await nothingRan(folder)
  })

  test('no known_hosts', async () => {
    const folder = await instance()
    await rm(join(folder, 'known_hosts'))
    const ended = await touch(folder)
    assert.match(ended.stderr, /^error MHV_SSH_(KNOWN_HOSTS_UNREADABLE|HOST_KEY_UNKNOWN): /m)
    assert.notEqual(ended.code, 0)
    await nothingRan(folder)
  })

  test('wrong password', async () => {
    const folder = await instance({ target: { identity_files: [], password: 'file:wrong' } })
    await writeFile(join(folder, 'wrong'), 'not-the-password\n', { mode: 0o600 })
    const ended = await touch(folder)
    refused(ended, 'MHV_SSH_AUTH_FAILED')
    assert.ok(!ended.stderr.includes('not-the-password'))
  })

  test('refused connection', async () => {
    const folder = await instance({ target: { port: 1 } })
    await writeFile(join(folder, 'known_hosts'), sshd.knownHosts.replaceAll(`:${sshd.port}`, ':1'))
    refused(await touch(folder), 'MHV_SSH_CONNECT_REFUSED')
  })

  test('a host that accepts and never answers', async () => {
    const sockets: Socket[] = []
    const silent = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as { port: number }
    const folder = await instance({ target: { port }, ssh: { connect_timeout: 0.3 } })
    refused(await touch(folder), 'MHV_SSH_CONNECT_TIMEOUT')
    // Unread data would keep them, and with them this process.
    for (const socket of sockets) socket.destroy()
    silent.close()
  })

  test('a command that never ends, and its output so far is there', async () => {
    const folder = await instance()
    const ended = await cli(
      'ssh',
      'execute',
      'box',
      '--folder',
      folder,
      '--timeout',
      '4',
      '--',
      'echo begun; sleep 600',
    )
    assert.match(ended.stderr, /^error MHV_SSH_COMMAND_TIMEOUT: /m)
    assert.equal(ended.code, ERROR_TABLE.MHV_SSH_COMMAND_TIMEOUT.exit)
    const [, run_id = ''] = /^run: (\S+)/m.exec(ended.stderr) ?? []
    const output = await cli('runs', 'output', run_id, '--folder', folder)
    assert.equal(output.stdout, 'begun\n')
  })

  test('invalid UTF-8 arrives as it is in the journal, and is marked', async () => {
    const folder = await instance()
    const ended = await cli('ssh', 'execute', 'box', '--folder', folder, '--json', '--', "printf 'a\\377b'")
    const result = JSON.parse(ended.stdout)
    assert.equal(result.data.utf8, false)
    assert.equal(result.output, 'a\ufffdb')
    const raw = await cli('runs', 'output', result.run_id, '--folder', folder, '--encoding', 'base64', '--json')
    assert.equal(JSON.parse(raw.stdout).chunks[0].text, Buffer.from([0x61, 0xff, 0x62]).toString('base64'))
  })

  test('a second process on the same folder names the first', async () => {
    const folder = await instance()
    const args = [BIN, 'ssh', 'execute', 'box', '--folder', folder, '--', 'echo up; sleep 20']
    const first = spawn(process.execPath, args, { stdio: 'ignore' })
    const exited = once(first, 'exit')
    try {
      // Reading needs no lock: it tells when the first has it.
      while (!/running/.test((await cli('runs', 'list', '--folder', folder)).stdout)) assert.equal(first.exitCode, null)
      const ended = await touch(folder)
      refused(ended, 'MHV_INSTANCE_LOCKED')
      assert.match(ended.stderr, new RegExp(`process ${first.pid} on `))
      await nothingRan(folder)
    } finally {
      first.kill('SIGINT')
      await exited
    }
  })

  test('a journal from a newer version', async () => {
    const folder = await instance()
    assert.equal((await touch(folder)).code, 0)
    const database = new DatabaseSync(join(folder, 'journal/journal.db'))
    database.exec('PRAGMA user_version = 999')
    database.close()
    await rm(join(folder, 'acted'))
    const ended = await touch(folder)
    refused(ended, 'MHV_JOURNAL_NEWER')
    assert.match(ended.stderr, /999/)
    await nothingRan(folder)
  })

  test('a full disk: refused before anything acts, and taken again when there is room', async () => {
    const folder = await instance()
    const disk = join(folder, 'journal')
    await mkdir(disk)
    await run('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', disk])
    try {
      const floor = ['--set', 'journal.min_free_bytes=1048576']
      assert.equal((await touch(folder, ...floor)).code, 0)
      await rm(join(folder, 'acted'))
      const { bavail, bsize } = await statfs(disk)
      const filler = join(disk, 'filler')
      await writeFile(filler, Buffer.alloc(bavail * bsize - 512 * 1024))
      refused(await touch(folder, ...floor), 'MHV_DISK_LOW')
      await appendFile(filler, Buffer.alloc(1024 * 1024)).catch(() => undefined)
      refused(await touch(folder, '--set', 'journal.min_free_bytes=0'), 'MHV_JOURNAL_FULL')
      await nothingRan(folder)
      await rm(filler)
      assert.equal((await touch(folder, ...floor)).code, 0)
    } finally {
      await run('umount', [disk])
    }
  })

  test('a login shell that runs no commands', async () => {
    const user: SystemUser = await makeUser({ shell: '/usr/sbin/nologin', password: 'a-long-password' })
    try {
      const folder = await instance({ target: { user: user.name, identity_files: [], password: 'file:password' } })
      await writeFile(join(folder, 'password'), 'a-long-password\n', { mode: 0o600 })
      refused(await touch(folder), 'MHV_SSH_SHELL_UNSUPPORTED')
    } finally {
      await user.remove()
    }
  })
})
