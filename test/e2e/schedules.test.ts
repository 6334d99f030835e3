import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { createConfigCalls } from '../../src/app/config-calls.ts'
import { createDoctor } from '../../src/app/doctor.ts'
import { systemClock } from '../../src/core/clock.ts'
import { EXIT } from '../../src/core/error-table.ts'
import { runHere, surfaceApp, surfaceComposition, surfaceFolder } from '../helpers/mcp-cli-fixture.ts'

const SCHEDULES = `version: 1
schedules:
  nightly:
    description: tidies up
    operation: probe.touch
    target: one
    input: { value: hello }
    cron: "30 2 * * *"
    timezone: Europe/Berlin
    jitter: 60
    missed: run_once
  often: { operation: probe.touch, target: two, every: 1, overlap: allow }
`

let folder: Awaited<ReturnType<typeof surfaceFolder>>
const app = surfaceApp()
const run = (...args: string[]) => runHere([...args, '--folder', folder.path], { app })
const settings = (file: string) => join(folder.path, 'settings', file)
const writeSchedules = (text: string) => writeFile(settings('schedules.yaml'), text)

before(async () => {
  folder = await surfaceFolder()
  await writeSchedules(SCHEDULES)
})
after(() => folder.remove())

describe('schedules on the command line', () => {
  test('list and show tell what is done and when; there need be no instance', async () => {
    const list = await run('schedules', 'list')
    assert.match(
      list.stdout,
      /^SCHEDULE +NEXT +LAST +OPERATION +TARGET +TIMING\nnightly +\d{4}-\S+Z +- +probe\.touch +one +30 2 \* \* \* Europe\/Berlin\n/,
    )
    const show = await run('schedules', 'show', 'nightly', '--count', '2')
    assert.match(show.stdout, /^schedule +nightly\nfor +tidies up\noperation +probe\.touch on one\n/)
    assert.match(show.stdout, /missed +run_once\nnext +\S+Z\n +\S+Z\n$/)
    const { next_runs } = JSON.parse((await run('schedules', 'show', 'nightly', '--json')).stdout)
    assert.equal(next_runs.length, 5)
  })

  test('pause, resume and run-now', async () => {
    assert.match((await run('schedules', 'pause', 'nightly', '--reason', 'the disk')).stdout, /\nnightly +paused /)
    assert.match((await run('schedules', 'show', 'nightly')).stdout, /\npaused +since \S+Z, by user:\d+: the disk\n/)
    const { code, stdout } = await run('schedules', 'run-now', 'nightly', '--json')
    const { run: ran } = JSON.parse(stdout)
    assert.deepEqual([code, ran.operation, ran.status, ran.target], [0, 'probe.touch', 'completed', 'one'])
    assert.match((await run('schedules', 'run-now', 'nightly')).stdout, /\nstatus +completed\n/)
    assert.doesNotMatch((await run('schedules', 'resume', 'nightly')).stdout, /paused/)
    const unknown = await run('schedules', 'show', 'nightli')
    assert.equal(unknown.code, EXIT.input)
    assert.match(unknown.stderr, /^error MHV_SCHEDULE_UNKNOWN: .*did you mean "nightly"/)
  })
})

describe('an instance with schedules', () => {
  test('fires them once it stays, counts them, and is as ready and healthy as without', async () => {
    const instance = await app.instances.open({
      folder: folder.path,
      doing: 'schedules',
      set: { 'log.level': 'error' },
    })
    const { principal } = instance
    const fired = async () => {
      const input = { principal: 'schedule:often' }
      return ((await instance.control({ name: 'run_list', input, principal }))['runs'] as { surface: string }[]).length
    }
    try {
      await systemClock.sleep(1_200)
      assert.equal(await fired(), 0, 'only a process that stays fires')
      instance.begin()
      const until = systemClock.monotonic() + 10_000
      while ((await fired()) < 2 && systemClock.monotonic() < until) await systemClock.sleep(50)
      assert.ok((await fired()) >= 2)
      assert.match(await instance.metrics(), /mahavishnu_schedule_runs_total\{schedule="often",outcome="fired"\} [1-9]/)
      assert.deepEqual(await instance.readiness(), { ready: true, reasons: [] })
      await instance.control({ name: 'schedule_pause', input: { name: 'often' }, principal })
      const count = await fired()
      await systemClock.sleep(1_200)
      assert.equal(await fired(), count)
    } finally {
      await instance.close()
    }
  })
})

describe('schedules that cannot be used', () => {
  const doctor = createDoctor(surfaceComposition())
  const finding = async () => (await doctor({ folder: folder.path })).find(({ check }) => check === 'schedules')

  test('doctor says which the policy does not allow, and the rule that would', async () => {
    assert.deepEqual(await finding(), { check: 'schedules', level: 'ok', message: '2 schedules' })
    const rules = 'version: 1\nname: p\nrules:\n  - { id: a, decision: allow, principals: ["schedule:often"] }\n'
    await writeFile(settings('policy.yaml'), rules)
    const { level, message, fix = '' } = (await finding()) ?? assert.fail()
    assert.deepEqual([level, message], ['warn', 'the policy does not allow what they do: schedule:nightly'])
    assert.match(fix, /schedule:nightly/)
  })

  test('doctor and start say what is wrong, with the line', async () => {
    await writeSchedules('version: 1\nschedules:\n  a: { operation: probe.touch, target: one, evry: 5 }\n')
    const { level, message } = (await finding()) ?? assert.fail()
    assert.equal(level, 'fail')
    const { problems } = await createConfigCalls(surfaceComposition()).validate({ folder: folder.path })
    assert.deepEqual(
      problems.map(({ code }) => code),
      ['MHV_SCHEDULE_INVALID'],
    )
    assert.match(
      message,
      /^MHV_SCHEDULE_INVALID: .*schedules\.yaml:3:45: there is no "schedules\.a\.evry"; did you mean "every"\?$/,
    )
    await assert.rejects(app.instances.open({ folder: folder.path, doing: 'x' }), { code: 'MHV_SCHEDULE_INVALID' })
  })
})
