import assert from 'node:assert/strict'
import { getPriority } from 'node:os'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { createDoctor } from '../../src/app/doctor.ts'
import { type IsolationInstance, isolationInstance } from '../helpers/isolation-instance.ts'
import { isRunning, until } from '../helpers/processes.ts'

/** Workers in processes of their own that are over a limit, stopped, or killed: the others go on. */

const own = (settings: Readonly<Record<string, unknown>> = {}) => ({ isolation: 'process', process: settings })

async function pidOf({ call }: IsolationInstance, worker = 'trouble'): Promise<number> {
  const { status, data, error } = await call(`${worker}.pid`)
  assert.equal(status, 'completed', error ?? '')
  return (data as { value: number }).value
}

/** Calls of another worker that are made at least: of fewer, the slowest would say little. */
const FEWEST_CALLS = 20
/**
 * A call of another worker takes a few milliseconds. One that waited for the one in trouble would wait for its end:
 * for two seconds of silence, or for all that it does.
 */
const SLOWEST_MS = 1_500

/** Calls of another worker, one after the other, all of which must succeed, as long as something goes on. */
async function meanwhile<T>(
  { call }: IsolationInstance,
  act: Promise<T>,
): Promise<{ value: T; calls: number; slowest: number }> {
  let over = false
  let calls = 0
  let slowest = 0
  void act.finally(() => {
    over = true
  })
  while (!over || calls < FEWEST_CALLS) {
    const began = performance.now()
    const { status, error } = await call('calm.pid')
    slowest = Math.max(slowest, performance.now() - began)
    assert.equal(status, 'completed', error ?? '')
    calls += 1
    await delay(10)
  }
  return { value: await act, calls, slowest }
}

suite('RES-10: a worker that ends takes nothing with it', () => {
  test('kill -9 while it acts: the run ends as unknown, the next goes to a new process', async () => {
    await using held = await isolationInstance({ trouble: own(), calm: own() })
    const pid = await pidOf(held)
    const acting = held.call('trouble.pid', { wait_ms: 60_000 })
    const calm = held.call('calm.pid', { wait_ms: 1_000 })
    await delay(300)
    process.kill(pid, 'SIGKILL')
    const { status, error_code, effect_certainty, error } = await acting
    assert.deepEqual([status, error_code, effect_certainty], ['failed', 'MHV_WORKER_DIED', 'unknown'])
    assert.match(error ?? '', /SIGKILL/)
    assert.equal((await calm).status, 'completed')
    assert.notEqual(await pidOf(held), pid)
    assert.equal((await held.health('trouble')).restarts, 1)
    const metrics = await held.instance.metrics()
    assert.match(metrics, /^mahavishnu_worker_process_up\{worker="trouble"\} 1$/m)
    assert.match(metrics, /^mahavishnu_worker_process_restarts_total\{worker="trouble"\} 1$/m)
    assert.match(metrics, /^mahavishnu_worker_process_memory_bytes\{worker="calm"\} \d{7,}$/m)
    assert.doesNotMatch(metrics, /process_up\{worker="probe"/)
  })

  test('a crash: the run says what the process said last', async () => {
    await using held = await isolationInstance({ trouble: own(), calm: own() })
    const { value } = await meanwhile(held, held.call('trouble.crash', { really: true }))
    assert.deepEqual([value.error_code, value.effect_certainty], ['MHV_WORKER_DIED', 'unknown'])
    assert.match(value.error ?? '', /exit code 1: RangeError: native trouble$/)
    assert.equal((await held.call('trouble.crash')).status, 'completed')
  })

  test('SIGSTOP is noticed: its runs end as unknown, the process is ended and replaced', async () => {
    await using held = await isolationInstance({ trouble: own({ heartbeat_seconds: 2 }), calm: own() })
    const pid = await pidOf(held)
    const acting = held.call('trouble.pid', { wait_ms: 60_000 })
    await delay(200)
    process.kill(pid, 'SIGSTOP')
    const { value, calls } = await meanwhile(held, acting)
    assert.deepEqual([value.error_code, value.effect_certainty], ['MHV_WORKER_DIED', 'unknown'])
    assert.match(value.error ?? '', /did not answer for 2 s/)
    assert.ok(calls > FEWEST_CALLS, `${calls} calls of the other worker`)
    assert.ok(await until(() => !isRunning(pid)))
    assert.notEqual(await pidOf(held), pid)
  })

  test('one that ends again and again is given up, says so, and its runs are refused before they act', async () => {
    await using held = await isolationInstance({ trouble: own({ max_restarts: 1 }) })
    for (let end = 0; end < 2; end++) {
      const pid = await pidOf(held)
      process.kill(pid, 'SIGKILL')
      assert.ok(await until(async () => (await held.health('trouble')).pid !== pid))
    }
    assert.ok(await until(async () => !(await held.instance.readiness()).ready))
    assert.deepEqual((await held.instance.readiness()).reasons, ['worker trouble is down (MHV_WORKER_DOWN)'])
    const { error_code, effect_certainty, metadata } = await held.call('trouble.pid')
    assert.deepEqual([error_code, effect_certainty], ['MHV_WORKER_DOWN', 'none'])
    assert.ok((metadata.retry_after ?? 0) > 200, `${metadata.retry_after}`)
    assert.equal((await held.call('calm.pid')).status, 'completed')
  })
})

suite('RES-10: a worker over a limit is held or stopped', () => {
  test('memory: far over it, it is ended and replaced, and the others go on', async () => {
    await using held = await isolationInstance({ trouble: own({ memory_limit_mb: 128 }), calm: own() })
    const pid = await pidOf(held)
    const endAndReplacement = async () => {
      const ended = await held.call('trouble.memory', { mb: 400, wait_ms: 30_000 })
      assert.ok(await until(() => !isRunning(pid)))
      return { ended, replacedBy: await pidOf(held) }
    }
    const { value, calls, slowest } = await meanwhile(held, endAndReplacement())
    const { ended, replacedBy } = value
    assert.deepEqual([ended.error_code, ended.effect_certainty], ['MHV_WORKER_DIED', 'unknown'])
    assert.match(ended.error ?? '', /memory_limit_mb is 128|memory limit/)
    assert.notEqual(replacedBy, pid)
    assert.ok(slowest < SLOWEST_MS, `${calls} calls of the other worker, the slowest in ${slowest} ms`)
  })

  test('memory: a little over it, its run ends by itself while new ones go to another process', async () => {
    await using held = await isolationInstance({ trouble: own({ memory_limit_mb: 300 }) })
    const pid = await pidOf(held)
    const base = Number((await held.health('trouble')).memory_bytes) / 1_048_576
    const mb = Math.round(330 - base)
    const slow = held.call('trouble.memory', { mb, wait_ms: 4_000 })
    assert.ok(await until(async () => (await held.health('trouble')).restarts === 1, 4_000))
    assert.notEqual(await pidOf(held), pid)
    const { status, data } = await slow
    assert.deepEqual([status, (data as { value: number }).value], ['completed', mb])
    assert.ok(await until(() => !isRunning(pid)))
  })

  test('processor: one that spins slows nobody down, and is ended when it does not answer', async () => {
    await using held = await isolationInstance({ trouble: own({ heartbeat_seconds: 4, cpu_percent: 50 }), calm: own() })
    const pid = await pidOf(held)
    const { limited_by } = await held.health('trouble')
    // Without a control group it gives way to the others.
    if (limited_by === 'watchdog') assert.equal(getPriority(pid), 10)
    const { value, calls, slowest } = await meanwhile(held, held.call('trouble.spin', { ms: 30_000 }))
    assert.deepEqual([value.error_code, value.effect_certainty], ['MHV_WORKER_DIED', 'unknown'])
    assert.ok(
      // One that waited for it would wait for four seconds of silence.
      calls > FEWEST_CALLS && slowest < 2 * SLOWEST_MS,
      `${calls} calls of the other worker, the slowest in ${slowest} ms`,
    )
    assert.ok(await until(() => !isRunning(pid)))
  })

  test('open files: it gets no more than its limit, and goes on', async () => {
    await using held = await isolationInstance({ trouble: own({ open_files: 128 }), calm: own() })
    const limited = await held.call('trouble.files', { count: 500 })
    const free = await held.call('calm.files', { count: 500 })
    const opened = (limited.data as { value: number }).value
    assert.ok(opened > 0 && opened < 128, `${opened} files`)
    assert.equal((free.data as { value: number }).value, 500)
    assert.equal((await held.call('trouble.files', { count: 10 })).status, 'completed')
  })
})

suite('RES-10: the main process sheds load before it is too late', () => {
  test('while its event loop is behind, new runs of low priority are refused, others are not', async () => {
    await using held = await isolationInstance({ admission: { max_loop_lag_ms: 200 } })
    assert.equal((await held.call('calm.pid', {}, { priority: 'low' })).status, 'completed')
    let refused: unknown
    for (let turn = 0; turn < 40 && refused === undefined; turn++) {
      const end = performance.now() + 300
      while (performance.now() < end);
      await delay(1)
      // Not before: each call that is taken lets the loop catch up.
      if (turn < 9) continue
      refused = await held.call('calm.pid', {}, { priority: 'low' }).then(
        () => undefined,
        (error: unknown) => error,
      )
    }
    const { code, message } = refused as { code: string; message: string }
    assert.equal(code, 'MHV_ADMISSION_FULL')
    assert.match(message, /event loop is \d+ ms behind/)
    assert.equal((await held.call('calm.pid')).status, 'completed')
    assert.ok(await untilTaken(held))
  })
})

suite('the limits of the workers beside what the host has', () => {
  test('doctor warns where they are beyond it, and says nothing where no worker has its own process', async () => {
    const capacity = async (settings: Readonly<Record<string, unknown>>) => {
      await using held = await isolationInstance(settings)
      const findings = await createDoctor(held.composition)({ folder: held.folder })
      return findings.find(({ check }) => check === 'capacity')
    }
    assert.equal(await capacity({}), undefined)
    assert.equal((await capacity({ calm: own({ memory_limit_mb: 128 }) }))?.level, 'ok')
    const finding = await capacity({ calm: own({ memory_limit_mb: 1_000_000 }) })
    assert.equal(finding?.level, 'warn')
    assert.match(finding?.message ?? '', /may hold 1000256 MiB with the main one; this host has \d+/)
  })
})

/** Whether runs of low priority are taken again once the loop is in time. */
function untilTaken({ call }: IsolationInstance): Promise<boolean> {
  const taken = () =>
    call('calm.pid', {}, { priority: 'low' }).then(
      () => true,
      () => false,
    )
  return until(taken, 5_000)
}
