import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { inRoot } from '../../scripts/lib/paths.ts'

let folder = ''
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'mhv-bin-'))
})
after(() => rm(folder, { recursive: true, force: true }))

function mahavishnu(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [inRoot('src/bin.ts'), ...args], (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
    })
  })
}

describe('the program as it is shipped', () => {
  test('prints its version', async () => {
    const { version } = JSON.parse(await readFile(inRoot('package.json'), 'utf8'))
    for (const flag of ['--version', '-V']) {
      assert.deepEqual(await mahavishnu(flag), { code: 0, stdout: `${version}\n`, stderr: '' })
    }
    assert.equal((await mahavishnu('--version', '--quiet')).stdout, `${version}\n`)
  })

  test('has a command for its workers', async () => {
    const { code, stdout } = await mahavishnu('ssh', 'execute', '--help')
    assert.equal(code, 0)
    assert.match(stdout, /^Usage: mahavishnu ssh execute TARGET \[options\] \[-- COMMAND\]\n/)
    assert.match(stdout, /^ {2}mahavishnu ssh execute web-1 -- /m)
  })

  test('answers about its configuration and itself', async () => {
    const explained = await mahavishnu(
      'config',
      'explain',
      'ssh.max_connections',
      '--set',
      'ssh.max_connections=7',
      '--json',
      '--folder',
      folder,
    )
    const { setting } = JSON.parse(explained.stdout)
    assert.equal(setting.value, 7)
    assert.equal(setting.layer, 'options')
    assert.equal(JSON.parse((await mahavishnu('config', 'validate', '--json', '--folder', folder)).stdout).valid, true)
    assert.equal(JSON.parse((await mahavishnu('config', 'schema', '--json')).stdout).schema.type, 'object')
    const { code, stdout } = await mahavishnu('doctor', '--json', '--folder', folder)
    assert.equal(code, 0)
    assert.equal(JSON.parse(stdout).ok, true)
  })

  test('refuses what no policy allows, with the remedy', async () => {
    const { code, stderr } = await mahavishnu('workers', 'health', '--folder', folder)
    assert.equal(code, 202)
    assert.match(stderr, /^error MHV_POLICY_DENIED: .*\nfix: /)
  })
})
