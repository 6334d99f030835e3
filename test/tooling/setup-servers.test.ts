import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { inRoot } from '../../scripts/lib/paths.ts'

const bash = ['/bin/bash', '/usr/bin/bash', '/usr/local/bin/bash'].find((path) => existsSync(path))
const skip = bash ? false : 'no bash'

test('setup-servers names what is missing and changes nothing without root', { skip }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'mahavishnu-setup-'))
  symlinkSync(['/usr/bin/sort', '/bin/sort'].find((path) => existsSync(path)) ?? '', join(folder, 'sort'))
  writeFileSync(join(folder, 'id'), `#!${bash}\necho 1000\n`)
  // It would write if it were called.
  writeFileSync(join(folder, 'apt-get'), `#!${bash}\n: >${join(folder, 'called')}\n`)
  for (const name of ['id', 'apt-get']) chmodSync(join(folder, name), 0o755)
  const options = { encoding: 'utf8' as const, env: { PATH: folder } }
  const { status, stdout } = spawnSync(bash ?? '', [inRoot('scripts/setup-servers')], options)
  assert.equal(status, 1)
  assert.match(stdout, /only root on Debian can install them here: .*busybox.*tcsh/)
  assert.equal(existsSync(join(folder, 'called')), false)
  rmSync(folder, { recursive: true })
})
