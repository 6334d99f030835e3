import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { production } from '../app.ts'
import { createDoctor } from './doctor.ts'

test('doctor asks for every operation whose work a schedule does, as the call itself will', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-finding-'))
  try {
    const settings = join(folder, 'settings')
    await mkdir(settings, { mode: 0o700 })
    const write = (name: string, text: string) => writeFile(join(settings, name), text, { mode: 0o600 })
    await write(
      'inventory.yaml',
      'version: 1\ntargets:\n  box: { tier: dev, ssh: { host: 127.0.0.1, user: nobody } }\n',
    )
    await write(
      'policy.yaml',
      'version: 1\nname: p\nrules:\n  - { id: a, decision: allow, operations: [ssh.execute] }\n',
    )
    const schedule = (input: string) =>
      write(
        'schedules.yaml',
        `version: 1\nschedules:\n  watch: { operation: ssh.execute, target: box, every: 3600, input: ${input} }\n`,
      )
    const finding = async () => {
      const findings = await createDoctor({ ...production(), env: {} })({ folder })
      return findings.find(({ check }) => check === 'schedules') ?? assert.fail('there is no such check')
    }
    await schedule('{ command: top }')
    assert.equal((await finding()).level, 'ok')
    await schedule('{ command: top, mode: interactive }')
    const { level, message, fix = '' } = await finding()
    assert.deepEqual([level, message], ['warn', 'the policy does not allow what they do: schedule:watch'])
    assert.match(fix, /terminal\.start_interactive_session/)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
