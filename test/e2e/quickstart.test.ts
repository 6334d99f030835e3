import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { promisify } from 'node:util'
import { isRunning, until } from '../helpers/processes.ts'
import { sshdMissing } from '../helpers/sshd.ts'

const run = promisify(execFile)
const ROOT = join(import.meta.dirname, '../..')
const QUICKSTART = join(ROOT, 'scripts/quickstart.ts')

interface Answer {
  readonly ok: boolean
  readonly ssh_server: string
  readonly folder: string
  readonly run: { run_id: string; status: string; exit_code: number; output: string }
  readonly journal: { run: { run_id: string; status: string }; events: { type: string }[] }
  readonly http: { url: string; pid: number; metric: string; page: { run: { run_id: string } } }
}

async function quickstart(folder: string, ...args: string[]): Promise<Answer> {
  const { stdout } = await run(process.execPath, [QUICKSTART, '--json', '--folder', folder, ...args], { cwd: ROOT })
  return JSON.parse(stdout.trimEnd().split('\n').at(-1) ?? '')
}

function check(answer: Answer): void {
  assert.equal(answer.ok, true)
  assert.equal(answer.run.status, 'completed')
  assert.equal(answer.run.exit_code, 3)
  assert.match(answer.run.output, /^Hello from /)
  assert.equal(answer.journal.run.run_id, answer.run.run_id)
  assert.deepEqual(
    answer.journal.events.map((event) => event.type),
    ['accepted', 'started', 'finished'],
  )
  const { metadata, ...journal } = answer.journal as Record<string, unknown>
  assert.deepEqual(metadata, { format: 1 })
  assert.deepEqual(answer.http.page, journal)
  assert.match(answer.http.metric, /^mahavishnu_runs_total\{.*operation="ssh\.execute",status="completed"\} 1$/)
  assert.equal(isRunning(answer.http.pid), false, 'mahavishnu up has ended with the quickstart')
}

// What is not built is a failure of its own in a full run; a filtered one may go without.
const unbuilt = existsSync(join(ROOT, 'dist/bin.js')) ? undefined : 'needs dist: npm run build'

suite('quickstart', { skip: unbuilt ?? false }, () => {
  let folder: string
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'mhv-quickstart-'))
  })
  after(() => rm(folder, { recursive: true, force: true }))

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    test(`told to end with ${signal} half-way, leaves no server behind`, { skip: sshdMissing() ?? false }, async () => {
      const place = await mkdtemp(join(tmpdir(), 'mhv-quickstart-'))
      const args = [QUICKSTART, '--require-sshd', '--folder', place]
      const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] })
      const closed = once(child, 'exit')
      let said = ''
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        said += text
      })
      assert.ok(await until(() => said.includes('mahavishnu up: http'), 60_000), said)
      const sshd = Number(await readFile(join(place, 'demo/sshd.pid'), 'utf8'))
      const { pid: up } = JSON.parse(await readFile(join(place, 'instance.holder.json'), 'utf8')) as { pid: number }
      assert.ok(isRunning(sshd) && isRunning(up))
      child.kill(signal)
      assert.deepEqual(await closed, [signal === 'SIGINT' ? 130 : 143, null])
      assert.ok(await until(() => !isRunning(sshd) && !isRunning(up), 15_000), 'both servers are gone')
      await rm(place, { recursive: true, force: true })
    })
  }

  test('runs the main job on the system sshd, and works a second time', { skip: sshdMissing() ?? false }, async () => {
    const first = await quickstart(folder, '--require-sshd')
    check(first)
    assert.match(first.ssh_server, /^system sshd/)
    const second = await quickstart(folder, '--require-sshd')
    check(second)
    assert.notEqual(second.run.run_id, first.run.run_id)
  })

  test('the built-in SSH server does the same job, and is named', async () => {
    const answer = await quickstart(folder, '--built-in')
    check(answer)
    assert.equal(answer.ssh_server, 'built in (ssh2)')
  })

  test('what it prints as next steps works as printed', async () => {
    const { stdout } = await run(process.execPath, [QUICKSTART, '--built-in', '--folder', folder], { cwd: ROOT })
    const steps = stdout.split('\n').filter((line) => /^ {2}npx mahavishnu (?!ssh )/.test(line))
    assert.ok(steps.length >= 4)
    for (const step of steps) {
      const [, ...words] = step.trim().split(' ')
      const answer = await run('npx', words, { cwd: ROOT })
      assert.notEqual(answer.stdout, '', step)
    }
  })

  test('an unknown option and a missing server are told, with --json too', async () => {
    const refused = await run(process.execPath, [QUICKSTART, '--json', '--nonsense'], { cwd: ROOT }).catch(
      (error) => error,
    )
    assert.equal(refused.code, 1)
    assert.equal(JSON.parse(refused.stdout).ok, false)
    assert.match(JSON.parse(refused.stdout).error, /--nonsense/)
  })

  test('the transcript in README.md is what the quickstart prints', { skip: sshdMissing() ?? false }, async () => {
    await run(process.execPath, [join(ROOT, 'scripts/transcript.ts'), '--check'], { cwd: ROOT })
    const readme = await readFile(join(ROOT, 'README.md'), 'utf8')
    assert.match(readme.slice(0, 1_000), /npm run quickstart[\s\S]*npm test/)
  })
})
