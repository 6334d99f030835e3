import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'
import { inRoot } from '../../scripts/lib/paths.ts'
import { canLookAtProcesses, endProcesses, lookAt, watchDescendants } from '../../scripts/test/processes.ts'
import { mergeResults, type TestRun } from '../../scripts/test/results.ts'
import type { FileRun } from '../../scripts/test/run-file.ts'

async function runFixture(name: string, timeoutMs = 30_000, own: NodeJS.ProcessEnv = {}): Promise<FileRun> {
  const { NODE_TEST_CONTEXT: _, NODE_V8_COVERAGE: __, ...env } = process.env
  const args = [inRoot('test/fixtures/runner/drive.ts'), `test/fixtures/runner/${name}.test.ts`, String(timeoutMs)]
  const { stdout } = await promisify(execFile)(process.execPath, args, { env: { ...env, ...own } })
  return JSON.parse(stdout)
}

const statuses = ({ tests }: FileRun) => tests.map(({ title, status }) => `${status} ${title}`)

describe('running a test file', { concurrency: 3 }, () => {
  test('names every test with its suites, and says why one was skipped', async () => {
    const run = await runFixture('mixed')
    assert.deepEqual(statuses(run), [
      'passed outer > inner > passes',
      'failed outer > inner > fails',
      'skipped outer > is skipped',
      'skipped skipped suite',
      'passed around > within',
      'passed around',
    ])
    assert.equal(run.tests[2]?.reason, 'no such server')
    assert.equal(run.tests[3]?.reason, 'no reason given')
    assert.equal(run.failures.length, 1)
    assert.match(run.failures[0]?.text ?? '', /1 !== 2/)
    assert.match(run.printed, /printed by the file/)
  })

  test('TOOL-04: a crash while loading is a failure that shows the error', async () => {
    const run = await runFixture('crash')
    assert.deepEqual(statuses(run), ['failed (the file itself)'])
    assert.match(run.printed, /crashed while loading/)
  })

  test('TOOL-04: a file without a test fails', async () => {
    assert.deepEqual(statuses(await runFixture('empty')), ['failed (the file itself)'])
  })

  test('TOOL-04: a file that exits with success in the middle fails', async () => {
    assert.ok(statuses(await runFixture('exits')).includes('failed (the file itself)'))
  })

  test('TOOL-04: a file that does not end is ended', async () => {
    const run = await runFixture('hangs', 1_500)
    assert.ok(statuses(run).includes('failed (the file itself)'))
    assert.ok(run.ms < 10_000)
  })

  const skip = canLookAtProcesses ? false : 'processes are looked at in /proc, which is not here'
  test('TOOL-04: a process left behind is named, ended, and a failure', { skip }, async () => {
    const run = await runFixture('leftover')
    assert.ok(statuses(run).includes('failed (processes left behind)'))
    const [, pid] = /^(\d+) sleep 300$/m.exec(run.failures[0]?.text ?? '') ?? []
    assert.ok(pid)
    assert.equal(lookAt(Number(pid)), undefined)
  })

  test('TOOL-04: a file left behind in the temporary folder is named, removed, and a failure', async () => {
    const place = mkdtempSync(join(tmpdir(), 'mhv-left-'))
    try {
      const run = await runFixture('leaves', 30_000, { TMPDIR: place })
      assert.deepEqual(statuses(run), ['passed makes a folder and forgets it', 'failed (files left behind)'])
      assert.match(run.failures[0]?.text ?? '', /^forgotten-\w+$/)
      assert.deepEqual(readdirSync(place), [])
    } finally {
      rmSync(place, { recursive: true, force: true })
    }
  })
})

test('TOOL-04: a process that was seen below us is found when nothing else ties it to us', {
  skip: canLookAtProcesses ? false : 'processes are looked at in /proc, which is not here',
}, async () => {
  const watch = watchDescendants()
  // As a command under sshd: a fresh environment, and its parent gone before it.
  const child = spawn('sh', ['-c', 'sleep 300 & sleep 0.7'], { env: { PATH: process.env.PATH }, stdio: 'ignore' })
  await new Promise((resolve) => child.once('exit', resolve))
  const found = watch.alive().filter(({ name }) => name === 'sleep')
  watch.stop()
  assert.equal(found.length, 1)
  await endProcesses(found)
  assert.equal(lookAt(found[0]?.pid ?? 0), undefined)
})

test('a filtered run keeps the results of the files it left out, unless they are gone', () => {
  const base = { format: 1, finishedAt: '', failed: 0, skipped: 0 } as const
  const one = (file: string, title: string) => ({ file, title, status: 'passed', ms: 1 }) as const
  const before: TestRun = {
    ...base,
    filtered: false,
    passed: 3,
    tests: [one('a', 'old'), one('b', 'b'), one('gone', 'g')],
  }
  const now: TestRun = { ...base, filtered: true, passed: 1, tests: [one('a', 'new')] }
  const merged = mergeResults(now, before, ['a', 'b'])
  assert.deepEqual(merged.tests, [one('a', 'new'), one('b', 'b')])
  assert.equal(merged.passed, 2)
  assert.equal(mergeResults({ ...now, filtered: false }, before, ['a', 'b']).tests.length, 1)
})
