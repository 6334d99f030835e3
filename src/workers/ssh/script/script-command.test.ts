import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { readScript } from './run-script-file.ts'
import { byFile, byStdin, notPlaced } from './script-command.ts'

const sh = (line: string, folder: string, input: string) =>
  spawnSync('sh', ['-c', line], { input, encoding: 'utf8', env: { ...process.env, TMPDIR: folder } })

test('a folder that somebody else made first is neither used nor removed', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-script-'))
  const script = 'echo ours'
  const theirs = 'echo evil'
  const name = 'mahavishnu-known'
  try {
    for (const stdin of [false, true]) {
      const line = byFile({ interpreter: ['sh'], args: [], name, bytes: script.length, stdin })
      assert.equal(sh(line, folder, script).stdout, 'ours\n')
      assert.equal(existsSync(join(folder, name)), false)
      // Whoever sees the command line in ps(1) knows the name, and how long the script is.
      await mkdir(join(folder, 'trap'))
      await writeFile(join(folder, 'trap', 'script'), theirs)
      await symlink(join(folder, 'trap'), join(folder, name))
      const { stdout, stderr, status } = sh(line, folder, script)
      assert.deepEqual([stdout, stderr, status], ['', `${notPlaced(name)}\n`, 126])
      assert.ok(existsSync(join(folder, name, 'script')))
      await rm(join(folder, name))
      await rm(join(folder, 'trap'), { recursive: true })
    }
  } finally {
    await rm(folder, { recursive: true })
  }
})

test('a shell behind another program reads the script from standard input, whatever its arguments', () => {
  for (const interpreter of [['sh'], ['env', 'bash'], ['/usr/bin/env', 'sh', '-u']]) {
    const line = byStdin({ interpreter, args: ['/etc/passwd'] })
    assert.equal(sh(line, '/tmp', 'echo "$1"').stdout, '/etc/passwd\n', line)
  }
})

test('a script is read to its end, in however many pieces it comes', async () => {
  // Its size is told as 0, and one read gives a page at most.
  const script = await readScript('/proc/self/maps', { folders: ['/proc'], setting: 'x' })
  assert.ok(script.length > 4_096, `${script.length} bytes`)
  assert.equal(script.at(-1), 0x0a)
})
