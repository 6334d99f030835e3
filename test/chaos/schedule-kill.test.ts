import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { stringify } from 'yaml'
import { KILL_STEPS, OCCURS_AT } from '../fixtures/schedule-steps.ts'
import { probeFolder } from '../helpers/probe-composition.ts'

const CHILD = join(import.meta.dirname, '../fixtures/schedule-child.ts')

const folders: string[] = []
after(async () => {
  for (const folder of folders) await rm(folder, { recursive: true, force: true })
})

/** A folder with one schedule that occurs once. */
async function folderWithSchedule(): Promise<string> {
  const folder = await probeFolder()
  folders.push(folder)
  const schedule = {
    operation: 'probe.once',
    target: 'one',
    every: 86_400,
    start: new Date(OCCURS_AT).toISOString(),
    end: new Date(OCCURS_AT + 1000).toISOString(),
  }
  await writeFile(join(folder, 'settings', 'schedules.yaml'), stringify({ version: 1, schedules: { once: schedule } }))
  return folder
}

async function child(...args: string[]): Promise<string | null> {
  const process_ = spawn(process.execPath, [CHILD, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  process_.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve) =>
    process_.on('close', (...how) => resolve(how)),
  )
  assert.ok(code === 0 || signal === 'SIGKILL', stderr)
  return signal
}

async function effects(folder: string): Promise<number> {
  const text = await readFile(join(folder, 'ledger'), 'utf8').catch(() => '')
  return text.split('\n').filter((line) => line !== '').length
}

async function killedAt(
  step: string,
  ...control: string[]
): Promise<{ readonly before: number; readonly after: number }> {
  const folder = await folderWithSchedule()
  assert.equal(await child(folder, step, ...control), 'SIGKILL')
  const before = await effects(folder)
  for (let start = 0; start < 2; start++) assert.equal(await child(folder, 'never', ...control), null)
  return { before, after: await effects(folder) }
}

describe('schedules and kill -9', { concurrency: 2 }, () => {
  for (const step of KILL_STEPS) {
    test(`RES-12: killed at "${step}", an occurrence has one effect, however often it starts again`, async () => {
      const { before, after: now } = await killedAt(step)
      assert.equal(now, 1)
      const acted = ['acted', 'ended', 'settling'].includes(step)
      if (acted) assert.equal(before, 1)
      if (step === 'claiming' || step === 'claimed') assert.equal(before, 0)
    })
  }

  test('control: without the keys of occurrences the second start acts again', async () => {
    assert.deepEqual(await killedAt('settling', 'keyless'), { before: 1, after: 2 })
  })
})
