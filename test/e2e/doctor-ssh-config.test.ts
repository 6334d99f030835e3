import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { inRoot } from '../../scripts/lib/paths.ts'
import { type Composition, createInstances, production } from '../../src/app.ts'
import type { OpenInstance } from '../../src/runtime/instance.ts'
import type { Finding } from '../../src/surfaces/cli/doctor.ts'

/** `mahavishnu doctor` as it is shipped, on an instance that another process holds, with a home folder of its own. */

let home: string
let folder: string
let config: string
let instance: OpenInstance

before(async () => {
  home = await mkdtemp(join(tmpdir(), 'mhv-home-'))
  folder = join(home, 'instance')
  config = join(home, '.ssh', 'config')
  await mkdir(join(folder, 'settings'), { recursive: true })
  await chmod(folder, 0o700)
  await mkdir(join(home, '.ssh'), { mode: 0o700 })
  await writeFile(join(folder, 'settings', 'mahavishnu.yaml'), 'version: 1\n')
  const inventory = 'version: 1\ntargets:\n  box: { tier: dev, ssh: { host: box } }\n'
  await writeFile(join(folder, 'settings', 'inventory.yaml'), inventory)
  const composition: Composition = { ...production(), env: {} }
  instance = await createInstances(composition).open({ folder, doing: 'holding it' })
})
after(async () => {
  await instance?.close()
  await rm(home, { recursive: true, force: true })
})

async function writeConfig(...lines: readonly string[]): Promise<void> {
  await writeFile(config, lines.join('\n'), { mode: 0o600 })
}

/** The doctor's exit code, and what it found of ssh_config. */
function doctor(): Promise<{ code: number; finding: Finding | undefined }> {
  const env = { ...process.env, HOME: home }
  const args = [inRoot('src/bin.ts'), 'doctor', '--json', '--folder', folder]
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { env }, (error, stdout, stderr) => {
      if (stdout === '') return reject(new Error(stderr))
      const { findings } = JSON.parse(stdout) as { findings: Finding[] }
      const finding = findings.find(({ check }) => check === 'ssh config')
      resolve({ code: typeof error?.code === 'number' ? error.code : 0, finding })
    })
  })
}

suite('doctor, on ~/.ssh/config, while the instance is open', () => {
  test('says nothing against what is understood', async () => {
    await writeConfig('Host box', '  HostName 127.0.0.1', '  User root', '')
    const { code, finding } = await doctor()
    assert.deepEqual([code, finding?.level, finding?.message], [0, 'ok', '1 files'])
  })

  test('names the file and the line of a keyword that has no effect here, in included files too', async () => {
    await writeConfig(
      'Include more',
      'Host box',
      '  HostName 127.0.0.1',
      '  ControlMaster auto',
      'Match exec "true"',
      '',
    )
    await writeFile(join(home, '.ssh', 'more'), '# of another file\nHost *\n  ForwardX11 yes\n', { mode: 0o600 })
    const { code, finding } = await doctor()
    assert.equal(finding?.level, 'warn')
    const { message } = finding as Finding
    assert.ok(message.includes(`${config}:4: ControlMaster has no effect here`), message)
    assert.ok(message.includes(`${join(home, '.ssh', 'more')}:3: ForwardX11 has no effect here`), message)
    assert.ok(message.includes(`${config}:5: Match exec: conditions are not looked at`), message)
    assert.doesNotMatch(message, /HostName/)
    assert.equal(code, 0)
  })

  test('says that the file is not read, and why, where others may write it', async () => {
    await writeConfig('Host box', '')
    await chmod(config, 0o666)
    const { finding } = await doctor()
    assert.deepEqual([finding?.level, finding?.message], ['warn', `${config}: may be written by others (chmod go-w)`])
  })
})
