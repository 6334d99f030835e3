import assert from 'node:assert/strict'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { EXIT } from '../../src/core/error-table.ts'
import type { WorkerResult } from '../../src/core/result.ts'
import { startUp, type UpProcess } from '../helpers/http-up.ts'
import { runHere, startProgram, surfaceApp, surfaceFolder } from '../helpers/mcp-cli-fixture.ts'
import { probeComposition, probeFolder } from '../helpers/probe-composition.ts'

const EVENT = /^\d{4}-\d\d-\d\dT[\d:.]+Z {2}(\w+)/

/** Types of the events that were noted, in order. */
const eventsIn = (stderr: string) => stderr.split('\n').flatMap((line) => EVENT.exec(line)?.[1] ?? [])

const documentsIn = (stdout: string) =>
  stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))

describe('runs follow, of a run that has ended', () => {
  let folder: Awaited<ReturnType<typeof surfaceFolder>>
  let run_id: string
  const app = surfaceApp()
  const follow = (...more: string[]) => runHere(['runs', 'follow', run_id, '--folder', folder.path, ...more], { app })
  before(async () => {
    folder = await surfaceFolder()
    const command = ['local', 'execute', 'here', '--json', '--folder', folder.path, '--']
    const { stdout } = await runHere([...command, 'echo out; echo err >&2; exit 7'], { app })
    run_id = (JSON.parse(stdout) as WorkerResult).run_id
  })
  after(() => folder.remove())

  test('shows both streams and the events, and exits as the run did', async () => {
    const { code, stdout, stderr } = await follow()
    assert.equal(code, 7)
    assert.equal(stdout, 'out\n')
    assert.deepEqual(eventsIn(stderr), ['accepted', 'started', 'finished'])
    assert.match(stderr, /^err$/m)
  })

  test('with --quiet shows the output alone', async () => {
    assert.deepEqual(await follow('--quiet'), { code: 7, stdout: 'out\n', stderr: 'err\n' })
  })

  test('with --jsonl prints one document a line, the end last', async () => {
    const { code, stdout, stderr } = await follow('--jsonl')
    const documents = documentsIn(stdout)
    assert.deepEqual([code, stderr], [7, ''])
    assert.deepEqual(
      documents.filter(({ kind }) => kind === 'event').map(({ event }) => event.type),
      ['accepted', 'started', 'finished'],
    )
    assert.equal(
      documents
        .filter(({ kind, stream }) => kind === 'output' && stream === 'stdout')
        .map(({ text }) => text)
        .join(''),
      'out\n',
    )
    assert.deepEqual([documents.at(-1).kind, documents.at(-1).run.exit_code], ['end', 7])
    assert.ok(documents.every(({ metadata }) => metadata.format === 1))
  })

  test('with --json prints the end alone', async () => {
    const { code, stdout } = await follow('--json')
    const { run, ended } = JSON.parse(stdout)
    assert.deepEqual([code, ended, run.run_id], [7, true, run_id])
    assert.equal((await follow('--json', '--jsonl')).code, EXIT.input)
  })

  test('tells of a failure as the command itself would have', async () => {
    const failed = await runHere(
      ['probe', 'fail', 'one', '--code', 'MHV_SSH_AUTH_FAILED', '--json', '--folder', folder.path],
      { app },
    )
    const { code, stderr } = await runHere(
      ['runs', 'follow', (JSON.parse(failed.stdout) as WorkerResult).run_id, '--folder', folder.path],
      { app },
    )
    assert.equal(code, EXIT.permission)
    assert.match(stderr, /^error MHV_SSH_AUTH_FAILED: told to\nfix: .*\neffect: /m)
  })

  test('does not know a run that is not there', async () => {
    const args = ['runs', 'follow', '01K5E2W9QZ3V7M4T8N6R1XJYHB', '--folder', folder.path]
    const { code, stderr } = await runHere(args, { app })
    assert.equal(code, EXIT.input)
    assert.match(stderr, /^error MHV_RUN_UNKNOWN: /)
  })
})

describe('runs follow, of a run that goes on', () => {
  let folder: string
  let up: UpProcess
  const app = surfaceApp(probeComposition())
  before(async () => {
    folder = await probeFolder()
    up = await startUp(folder)
  })
  after(async () => {
    up.child.kill('SIGTERM')
    await up.ended()
    await rm(folder, { recursive: true, force: true })
  })

  /** Begins a run in the instance that is up, and gives its id. */
  async function begin(ms: number): Promise<string> {
    const emit = ['probe', 'emit', 'one', '--pieces', 'piece', '--wait-ms', String(ms), '--folder', folder]
    const started = runHere([...emit, '--idempotency-key', `key ${ms}`], { app })
    started.catch(() => undefined)
    for (let tries = 0; tries < 200; tries++) {
      const { stdout } = await runHere(['runs', 'list', '--status', 'running', '--json', '--folder', folder], { app })
      const [run] = (JSON.parse(stdout) as { runs: WorkerResult[] }).runs
      if (run !== undefined) return run.run_id
      await delay(50)
    }
    throw new Error('no run began')
  }

  test('on an instance that is up: shows what comes as it comes, and its end', async () => {
    const run_id = await begin(2_500)
    const { code, stdout } = await runHere(['runs', 'follow', run_id, '--jsonl', '--folder', folder], { app })
    const kinds = documentsIn(stdout).map(({ kind, event }) => event?.type ?? kind)
    assert.equal(code, 0)
    assert.deepEqual(
      kinds.filter((kind) => kind !== 'progress'),
      ['accepted', 'started', 'output', 'finished', 'end'],
    )
    const { run } = documentsIn(stdout).at(-1)
    assert.deepEqual([run.run_id, run.status], [run_id, 'completed'])
  })

  test('Ctrl-C ends the following, and the run goes on', async () => {
    const run_id = await begin(20_000)
    let interrupt = () => {}
    const { code, stderr } = await runHere(['runs', 'follow', run_id, '--folder', folder], {
      app,
      interrupting: (act) => {
        interrupt = act
      },
      noted: (text) => {
        if (eventsIn(text).includes('started')) setImmediate(interrupt)
      },
    })
    assert.equal(code, EXIT.cancelled)
    assert.match(stderr, new RegExp(`run ${run_id} goes on; \`mahavishnu runs cancel ${run_id}\` ends it\n$`))
    const shown = await runHere(['runs', 'show', run_id, '--json', '--folder', folder], { app })
    assert.equal(JSON.parse(shown.stdout).run.status, 'running')
    assert.equal((await runHere(['runs', 'cancel', run_id, '--folder', folder], { app })).code, EXIT.ok)
  })
})

test('runs follow shows a run of another command, whose process has the folder', { timeout: 60_000 }, async () => {
  const folder = await surfaceFolder()
  const app = surfaceApp()
  const script = 'echo first; sleep 2; echo second'
  const child = startProgram(['local', 'execute', 'here', '--folder', folder.path, '--', script])
  const closed = once(child, 'close')
  try {
    let run: WorkerResult | undefined
    for (let tries = 0; tries < 200 && run === undefined; tries++) {
      const { stdout } = await runHere(['runs', 'list', '--status', 'running', '--json', '--folder', folder.path], {
        app,
      })
      run = (JSON.parse(stdout) as { runs?: WorkerResult[] }).runs?.[0]
      await delay(50)
    }
    assert.ok(run !== undefined, 'no run began')
    const { code, stdout } = await runHere(['runs', 'follow', run.run_id, '--folder', folder.path], { app })
    assert.deepEqual([code, stdout], [0, 'first\nsecond\n'])
  } finally {
    child.kill('SIGKILL')
    await closed
    await folder.remove()
  }
})
