import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { after, before, suite, test } from 'node:test'
import { createInstances } from '../../src/app.ts'
import type { Instance } from '../../src/runtime/instance.ts'
import { probeComposition, probeFolder } from '../helpers/probe-composition.ts'

interface Shown {
  readonly worker: string
  readonly target: string
  readonly state: string
  readonly forced: string | null
  readonly failures: number
  readonly open_until: string | null
}

let folder: string
before(async () => {
  folder = await probeFolder()
})
after(() => rm(folder, { recursive: true, force: true }))

const SET = {
  'log.level': 'error',
  'probe.retry.budget.size': '0',
  'probe.circuit_breaker.failure_threshold': '3',
  'probe.circuit_breaker.recovery_timeout': '3600',
}

const open = () => createInstances(probeComposition()).open({ folder, doing: 'test', set: SET })

const fail = (instance: Instance, target: string) =>
  instance.invoke({
    operation: 'probe.fail',
    input: { code: 'MHV_SSH_CONNECT_REFUSED' },
    envelope: { target },
    principal: instance.principal,
    surface: 'embedded',
  })

async function list(instance: Instance, input: object = {}): Promise<readonly Shown[]> {
  const answer = await instance.control({ name: 'breaker_list', input, principal: instance.principal })
  return answer.breakers as readonly Shown[]
}

const force = (instance: Instance, input: object) =>
  instance.control({ name: 'breaker_force', input, principal: instance.principal })

suite('circuit breakers of an instance', () => {
  test('an open one is seen everywhere and survives a restart with the time that is left', async () => {
    const first = await open()
    let until: string | null | undefined
    try {
      for (let call = 0; call < 3; call++)
        assert.equal((await fail(first, 'one')).error_code, 'MHV_SSH_CONNECT_REFUSED')
      assert.equal((await fail(first, 'one')).error_code, 'MHV_BREAKER_OPEN')
      await fail(first, 'two')
      const [one, two] = await list(first)
      assert.deepEqual([one?.worker, one?.target, one?.state, one?.failures], ['probe', 'one', 'open', 3])
      assert.deepEqual([two?.target, two?.state, two?.failures], ['two', 'closed', 1])
      assert.deepEqual((await list(first, { on: 'two' })).length, 1)
      until = one?.open_until
      const { workers } = await first.control({ name: 'worker_health', input: {}, principal: first.principal })
      const [{ breakers }] = workers as [{ breakers: unknown }]
      assert.deepEqual(breakers, [{ target: 'one', state: 'open', forced: null }])
      const metrics = await first.metrics()
      assert.match(metrics, /^mahavishnu_breakers\{worker="probe",state="open"\} 1$/m)
      assert.match(metrics, /^mahavishnu_breaker_changes_total\{worker="probe",state="open"\} 1$/m)
      assert.match(metrics, /^mahavishnu_retries_denied_total\{worker="probe",reason="budget"\} 4$/m)
    } finally {
      await first.close()
    }
    const second = await open()
    try {
      const refused = await fail(second, 'one')
      assert.deepEqual([refused.error_code, refused.attempts], ['MHV_BREAKER_OPEN', 0])
      assert.ok((refused.metadata.retry_after ?? 0) > 3_500 && (refused.metadata.retry_after ?? 0) <= 3_600)
      const [one] = await list(second)
      assert.ok(Math.abs(Date.parse(one?.open_until ?? '') - Date.parse(until ?? '')) < 1_000)
    } finally {
      await second.close()
    }
  })

  test('an operator forces one: at once, over restarts, in the audit trail, and only one that exists', async () => {
    const first = await open()
    try {
      const { breaker, changed } = await force(first, { on: 'two', worker: 'probe', state: 'open', reason: 'moving' })
      assert.deepEqual([(breaker as Shown).state, (breaker as Shown).forced, changed], ['open', 'open', true])
      assert.equal((await force(first, { on: 'two', worker: 'probe', state: 'open' })).changed, false)
      await force(first, { on: 'one', worker: 'probe', state: 'closed' })
      assert.equal((await fail(first, 'one')).error_code, 'MHV_SSH_CONNECT_REFUSED')
      await assert.rejects(force(first, { on: 'three', worker: 'probe', state: 'open' }), {
        code: 'MHV_TARGET_UNKNOWN',
      })
      await assert.rejects(force(first, { on: 'two', worker: 'prob', state: 'open' }), { code: 'MHV_WORKER_UNKNOWN' })
      await assert.rejects(force(first, { on: 'two', worker: 'probe', state: 'ajar' }), { code: 'MHV_INPUT_INVALID' })
    } finally {
      await first.close()
    }
    const second = await open()
    try {
      const refused = await fail(second, 'two')
      assert.deepEqual([refused.error_code, refused.metadata.retry_after], ['MHV_BREAKER_OPEN', undefined])
      assert.equal((await fail(second, 'one')).error_code, 'MHV_SSH_CONNECT_REFUSED')
      await force(second, { on: 'two', worker: 'probe', state: 'auto' })
      await force(second, { on: 'one', worker: 'probe', state: 'auto' })
      assert.equal((await fail(second, 'two')).error_code, 'MHV_SSH_CONNECT_REFUSED')
    } finally {
      await second.close()
    }
  })
})
