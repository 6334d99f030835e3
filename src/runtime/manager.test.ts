import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { systemClock } from '../core/clock.ts'
import { type MhvError, mhvError } from '../core/errors.ts'
import { newId } from '../core/ids.ts'
import { createRegistry } from '../core/registry.ts'
import type { WorkerResult } from '../core/result.ts'
import { createProbeWorker } from '../testing/probe-worker.ts'
import { createWorkerManager, type WorkerManager } from './manager.ts'
import type { ManagerLimits, ManagerTask, TaskResult } from './manager-types.ts'
import type { InvokeRequest } from './runtime.ts'

const PROMPTS = { probe: { operation: 'probe.touch', field: 'value' } }

/** An instance whose runs take some turns of the loop, and end as their prompt says: `fail`, `refuse`, `exit 3`, text. */
function fakeInstance(options: { targets?: readonly string[] } = {}) {
  const calls: InvokeRequest[] = []
  const active = new Map<string, number>()
  const seen = { highest: 0, overlaps: 0 }

  async function invoke(request: InvokeRequest): Promise<WorkerResult> {
    const { value = '' } = request.input as { value?: string }
    const lane = String(request.envelope?.reason ?? '')
    calls.push(request)
    active.set(lane, (active.get(lane) ?? 0) + 1)
    if (lane !== '' && (active.get(lane) ?? 0) > 1) seen.overlaps += 1
    seen.highest = Math.max(
      seen.highest,
      [...active.values()].reduce((sum, each) => sum + each, 0),
    )
    try {
      for (let left = value.length % 4; left > 0; left--) await turn()
      if (value.startsWith('refuse')) throw mhvError('MHV_POLICY_DENIED', 'not allowed')
      if (value.startsWith('defect')) throw new Error('broken')
      while (value.startsWith('hang') && !request.signal?.aborted) await turn()
      return runOf(request, value)
    } finally {
      active.set(lane, (active.get(lane) ?? 1) - 1)
    }
  }
  const targets = options.targets ?? ['one']
  const instance = {
    registry: createRegistry([createProbeWorker()]),
    principal: { id: 'user:test', kind: 'user' as const },
    invoke,
    control: async ({ name }: { name: string }) =>
      name === 'worker_list'
        ? { workers: [{ name: 'probe', targets }] }
        : { workers: [{ name: 'probe', breakers: [{ target: 'one', state: 'open' }] }] },
    log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
  }
  return { instance, calls, seen }
}

function runOf(request: InvokeRequest, value: string): WorkerResult {
  const cancelled = request.signal?.aborted === true
  const failed = value.startsWith('fail')
  return {
    run_id: newId(systemClock),
    worker: 'probe',
    operation: request.operation,
    target: 'one',
    worker_id: 'probe-instance',
    status: cancelled ? 'cancelled' : failed ? 'failed' : 'completed',
    effect_certainty: 'applied',
    output: failed ? null : value,
    data: { value },
    error: failed ? 'told to' : null,
    error_code: failed ? 'MHV_INTERNAL' : null,
    exit_code: value.startsWith('exit ') ? Number(value.slice(5)) : 0,
    attempts: 1,
    duration_seconds: 0,
    timestamp: new Date().toISOString(),
    metadata: {
      format: 1,
      principal: 'user:test',
      surface: 'embedded',
      effect: 'write',
      tier: 'dev',
      queue_seconds: 0,
    },
  }
}

function managerOn(fake: ReturnType<typeof fakeInstance>, limits: Partial<ManagerLimits> = {}): WorkerManager {
  return createWorkerManager({ instance: fake.instance, clock: systemClock, limits, prompts: PROMPTS })
}

const codeIs = (code: string) => (error: unknown) => (error as MhvError).code === code

describe('spawned workers', () => {
  test('have ids of their own, and are capped: all of a call or none', async () => {
    const manager = managerOn(fakeInstance(), { max_spawned: 5 })
    const ids = [...(await manager.spawn_workers('probe', 3)), ...(await manager.spawn_workers('probe:one', 2))]
    assert.equal(new Set(ids).size, 5)
    for (const id of ids) assert.match(id, /^probe-[0-9A-Z]{26}$/)
    await assert.rejects(manager.spawn_workers('probe', 1), (error: MhvError) => {
      assert.equal(error.code, 'MHV_MANAGER_FULL')
      assert.match(error.message, /max_spawned/)
      return true
    })
    await manager.close_worker(ids[0] as string)
    await assert.rejects(manager.spawn_workers('probe', 2), codeIs('MHV_MANAGER_FULL'))
    assert.equal((await manager.spawn_workers('probe')).length, 1)
    assert.equal(manager.list_workers().length, 5)
    for (const count of [0, 51, 1.5]) {
      await assert.rejects(manager.spawn_workers('probe', count), codeIs('MHV_INPUT_INVALID'))
    }
  })

  test('are bound to the only target of their type, or to the one that is named', async () => {
    const manager = managerOn(fakeInstance({ targets: ['one', 'two'] }))
    await assert.rejects(manager.spawn_workers('probe'), (error: MhvError) => {
      assert.equal(error.code, 'MHV_TARGET_REQUIRED')
      assert.match(error.message, /probe:one, probe:two/)
      return true
    })
    await assert.rejects(manager.spawn_workers('probe:tow'), /did you mean "two"/)
    await assert.rejects(manager.spawn_workers('prob'), codeIs('MHV_WORKER_UNKNOWN'))
    await manager.spawn_workers('probe:two')
    assert.equal(manager.list_workers()[0]?.target, 'two')
    await assert.rejects(managerOn(fakeInstance({ targets: [] })).spawn_workers('probe'), codeIs('MHV_TARGET_REQUIRED'))
  })
})

describe('tasks', () => {
  test('answer with the eight keys and the run', async () => {
    const fake = fakeInstance()
    const manager = managerOn(fake)
    const [id = ''] = await manager.spawn_workers('probe')
    const result = await manager.execute_task(id, { prompt: 'exit 7', timeout: 9, priority: 'low' })
    assert.deepEqual(Object.keys(result).sort(), [
      'duration_seconds',
      'error',
      'exit_code',
      'metadata',
      'output',
      'run_id',
      'status',
      'timestamp',
      'worker_id',
    ])
    assert.deepEqual([result.worker_id, result.status, result.output, result.exit_code], [id, 'completed', 'exit 7', 7])
    const { operation, input, envelope } = fake.calls[0] as InvokeRequest
    assert.deepEqual({ operation, input }, { operation: 'probe.touch', input: { value: 'exit 7' } })
    assert.deepEqual({ ...envelope, wait: 0 }, { wait: 0, target: 'one', timeout: 9, priority: 'low' })
  })

  test('may name an operation of the type and another target, and nothing else', async () => {
    const fake = fakeInstance()
    const manager = managerOn(fake)
    const [id = ''] = await manager.spawn_workers('probe')
    await manager.execute_task(id, { operation: 'probe.emit', input: { pieces: ['a'] }, target: 'two' })
    assert.deepEqual([fake.calls[0]?.operation, fake.calls[0]?.envelope?.target], ['probe.emit', 'two'])
    for (const task of [{ operation: 'ssh.execute' }, { operation: 'probe.emit', prompt: 'x' }] as ManagerTask[]) {
      const { status, metadata, run_id } = await manager.execute_task(id, task)
      assert.equal(status, 'failed')
      assert.match(String(metadata.error_code), /MHV_(INPUT_INVALID|OPERATION_UNKNOWN)/)
      assert.equal(run_id, null)
    }
    await assert.rejects(manager.execute_task('probe-nobody', 'x'), codeIs('MHV_MANAGER_WORKER_UNKNOWN'))
  })

  test('are cancelled by the signal, running or waiting', async () => {
    const manager = managerOn(fakeInstance())
    const [id = ''] = await manager.spawn_workers('probe')
    const controller = new AbortController()
    const both = [manager.execute_task(id, 'hang', controller.signal), manager.execute_task(id, 'b', controller.signal)]
    const third = manager.execute_task(id, 'c')
    await turn()
    assert.deepEqual(manager.monitor_workers([id, 'nobody']), { [id]: 'running', nobody: null })
    assert.equal(manager.list_workers()[0]?.waiting, 2)
    controller.abort(mhvError('MHV_RUN_CANCELLED', 'enough'))
    assert.deepEqual(
      (await Promise.all(both)).map(({ status }) => status),
      ['cancelled', 'cancelled'],
    )
    assert.equal((await third).status, 'completed')
  })

  test('of a closing worker are done first; by force they are cancelled', async () => {
    const manager = managerOn(fakeInstance())
    const [gentle = '', forced = ''] = await manager.spawn_workers('probe', 2)
    const done = [manager.execute_task(gentle, 'abc'), manager.execute_task(gentle, 'd')]
    const closing = manager.close_worker(gentle)
    await assert.rejects(manager.execute_task(gentle, 'late'), codeIs('MHV_MANAGER_WORKER_CLOSED'))
    await closing
    assert.deepEqual(
      (await Promise.all(done)).map(({ output }) => output),
      ['abc', 'd'],
    )
    const cut = [manager.execute_task(forced, 'hang'), manager.execute_task(forced, 'never')]
    await turn()
    const slow = manager.close_worker(forced)
    await manager.close_worker(forced, true)
    await slow
    assert.deepEqual(
      (await Promise.all(cut)).map(({ status }) => status),
      ['cancelled', 'cancelled'],
    )
    assert.deepEqual(manager.list_workers(), [])
    await assert.rejects(manager.close_worker(forced), codeIs('MHV_MANAGER_WORKER_UNKNOWN'))
    assert.equal(manager.collect_results([gentle, forced]).results.length, 4)
  })

  test('beyond the limit of tasks at once wait for their turn, and give up their place in the line', async () => {
    const fake = fakeInstance()
    const manager = managerOn(fake, { max_concurrent: 2 })
    const ids = await manager.spawn_workers('probe', 3)
    const hanging = ids.map((id) => manager.execute_task(id, 'hang'))
    for (let turns = 0; turns < 5; turns++) await turn()
    assert.equal(fake.calls.length, 2)
    assert.equal(manager.monitor_workers()[ids[2] as string], 'pending')
    await manager.close_worker(ids[2] as string, true)
    assert.equal((await hanging[2])?.run_id, null)
    assert.deepEqual((await manager.close_all(true)).sort(), ids.slice(0, 2).sort())
  })
})

describe('watching', () => {
  test('tells each change, and looks again after the interval', async () => {
    const manager = managerOn(fakeInstance())
    const [id = ''] = await manager.spawn_workers('probe')
    const stop = new AbortController()
    const statuses: unknown[] = []
    const watching = (async () => {
      for await (const each of manager.watch_workers([id], 0.05, stop.signal)) {
        statuses.push(each[id])
        if (statuses.at(-1) === null) stop.abort()
      }
    })()
    await manager.execute_task(id, 'abc')
    // Nothing changes any more: what comes again comes for the interval.
    while (statuses.filter((each) => each === 'completed').length < 3) await turn()
    await manager.close_worker(id)
    await watching
    assert.ok(statuses.length >= 5, String(statuses))
    assert.deepEqual([...new Set(statuses)], ['pending', 'running', 'completed', null])
  })

  test('health tells the limits and the open breakers of spawned workers', async () => {
    const manager = managerOn(fakeInstance())
    assert.deepEqual((await manager.health_check()).status, 'healthy')
    await manager.spawn_workers('probe', 2)
    const { status, workers_active, open_breakers } = await manager.health_check()
    assert.deepEqual([status, workers_active, open_breakers], ['degraded', 2, ['probe:one']])
  })
})

type Batch = (manager: WorkerManager, ids: readonly string[], prompts: readonly string[]) => Promise<unknown[]>

/** Throws unless every prompt has its own whole result at its place. */
async function checkBatch(batch: Batch, prompts: readonly string[], workers: number, closed: number): Promise<void> {
  const fake = fakeInstance()
  const manager = managerOn(fake, { max_concurrent: 3 })
  const ids = await manager.spawn_workers('probe', workers)
  const running = batch(manager, ids, prompts)
  for (const id of ids.slice(0, closed)) void manager.close_worker(id, true)
  const results = (await running) as TaskResult[]
  assert.equal(results.length, prompts.length)
  for (const [index, prompt] of prompts.entries()) {
    const result = results[index] as TaskResult
    assert.equal(result.worker_id, ids[index % ids.length])
    if (result.status === 'completed') assert.equal(result.output, prompt)
    else assert.ok(result.error !== null || result.status === 'cancelled')
    if (result.status === 'completed' && prompt.startsWith('exit '))
      assert.equal(result.exit_code, Number(prompt.slice(5)))
    if (index % ids.length >= closed) assert.equal(result.status, expectedStatus(prompt))
  }
  assert.ok(fake.seen.highest <= 3, `${fake.seen.highest} at once`)
  await manager.close_all(true)
}

function expectedStatus(prompt: string): string {
  return /^(fail|refuse|defect)/.test(prompt) ? 'failed' : 'completed'
}

const prompt = fc.oneof(
  fc.constantFrom('fail', 'refuse', 'defect', 'exit 3', 'exit 0'),
  fc.string({ minLength: 1, maxLength: 30 }).filter((text) => !/^(hang|exit|fail|refuse|defect)/.test(text)),
)
const ours: Batch = (manager, ids, prompts) => manager.execute_batch(ids, prompts)

/** As the original did it: results in a table by worker. */
const byWorker: Batch = async (manager, ids, prompts) => {
  const pairs = prompts.map((each, index) => [ids[index % ids.length] as string, each] as const)
  const results = await Promise.all(
    pairs.map(async ([id, each]) => [id, await manager.execute_task(id, each)] as const),
  )
  return [...new Map(results).values()]
}
/** In the order in which the tasks end, the failed ones left out. */
const asTheyCome: Batch = async (manager, ids, prompts) => {
  const results: TaskResult[] = []
  const one = async (each: string, index: number) => {
    const result = await manager.execute_task(ids[index % ids.length] as string, each)
    if (result.status === 'completed') results.push(result)
  }
  await Promise.all(prompts.map(one))
  return results
}

test('MGR-01: a batch returns every result whole, in order, whatever fails', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(prompt, { minLength: 2, maxLength: 40 }),
      fc.integer({ min: 1, max: 8 }),
      fc.integer({ min: 0, max: 2 }),
      (prompts, workers, closed) => {
        const spawned = Math.min(workers, prompts.length)
        return checkBatch(ours, prompts, spawned, Math.min(closed, spawned - 1))
      },
    ),
    { numRuns: 150 },
  )
})

test('MGR-01, negative control: a batch that keeps results by worker, or as they come, is found out', async () => {
  const prompts = ['aaa', 'fail', 'b', 'cc', 'exit 3']
  await checkBatch(ours, prompts, 2, 0)
  await assert.rejects(checkBatch(byWorker, prompts, 2, 0), assert.AssertionError)
  await assert.rejects(checkBatch(asTheyCome, prompts, 2, 0), assert.AssertionError)
})

type Step =
  | { readonly kind: 'spawn'; readonly count: number }
  | { readonly kind: 'task'; readonly pick: number; readonly text: string }
  | { readonly kind: 'close'; readonly pick: number; readonly force: boolean }
  | { readonly kind: 'collect' }

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('spawn' as const), count: fc.integer({ min: 1, max: 4 }) }),
  fc.record({ kind: fc.constant('task' as const), pick: fc.nat(20), text: prompt }),
  fc.record({ kind: fc.constant('close' as const), pick: fc.nat(20), force: fc.boolean() }),
  fc.record({ kind: fc.constant('collect' as const) }),
)

test('whatever the schedule: the cap holds, ids are unique, a worker does one task at a time in order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const fake = fakeInstance()
      const manager = managerOn(fake, { max_spawned: 6, max_concurrent: 4 })
      const everyId: string[] = []
      const ends: Promise<unknown>[] = []
      const given = new Map<string, string[]>()
      const collected: { worker_id: string; offset: number; status: string; output: string | null }[] = []
      let since = 0
      const collect = () => {
        const page = manager.collect_results(undefined, since)
        since = page.next_offset
        collected.push(...page.results)
      }
      for (const each of steps) {
        const id = everyId[('pick' in each ? each.pick : 0) % Math.max(1, everyId.length)]
        if (each.kind === 'spawn') {
          const made = await manager.spawn_workers('probe', each.count).catch((error: MhvError) => {
            assert.equal(error.code, 'MHV_MANAGER_FULL')
            return []
          })
          everyId.push(...made)
        } else if (each.kind === 'task' && id !== undefined) {
          const task = { prompt: each.text, reason: id }
          const result = manager.execute_task(id, task)
          ends.push(
            result.then(
              () => given.set(id, [...(given.get(id) ?? []), each.text]),
              (error: MhvError) => assert.match(error.code, /MHV_MANAGER_WORKER_(UNKNOWN|CLOSED)/),
            ),
          )
        } else if (each.kind === 'close' && id !== undefined) {
          ends.push(manager.close_worker(id, each.force).catch(codeIs('MHV_MANAGER_WORKER_UNKNOWN')))
        } else if (each.kind === 'collect') collect()
        assert.ok(manager.list_workers().length <= 6)
      }
      await Promise.all(ends)
      collect()
      assert.equal(new Set(everyId).size, everyId.length)
      assert.deepEqual([fake.seen.overlaps, fake.seen.highest <= 4], [0, true])
      assert.deepEqual(
        collected.map(({ offset }) => offset),
        collected.map((_, index) => index),
      )
      for (const [id, texts] of given) {
        const mine = collected.filter(({ worker_id }) => worker_id === id)
        assert.equal(mine.length, texts.length)
        for (const [index, { status, output }] of mine.entries()) {
          if (status === 'completed') assert.equal(output, texts[index])
        }
      }
      await manager.close_all(true)
    }),
    { numRuns: 120 },
  )
})
