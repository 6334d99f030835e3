import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { BOB, createRuntimeFixture } from '../../test/helpers/runtime-parts.ts'
import { mhvError } from '../core/errors.ts'
import { createMemoryStore } from '../store/memory.ts'
import { createFakeClock } from '../testing/fake-clock.ts'
import { callControl } from './call-control.ts'

const policy = (...rules: string[]) => `version: 1\nname: p\nrules:\n${rules.map((rule) => `  - ${rule}\n`).join('')}`

suite('forcing a breaker', () => {
  test('is what the policy says of a write on that target', async () => {
    const dev = '{ id: dev, decision: allow, tiers: [dev], effects: [write] }'
    const { control } = createRuntimeFixture({ policy: policy(dev) })
    await control('breaker_force', { on: 'one', worker: 'probe', state: 'open' }, BOB)
    for (const on of ['vault', 'nowhere']) {
      await assert.rejects(control('breaker_force', { on, worker: 'probe', state: 'open' }, BOB), {
        code: 'MHV_POLICY_DENIED',
      })
    }
  })

  test('is in the audit trail, with who, why, before and after', async () => {
    const { control, store } = createRuntimeFixture()
    await control('breaker_force', { on: 'one', worker: 'probe', state: 'open', reason: 'maintenance' }, BOB)
    await control('breaker_force', { on: 'one', worker: 'probe', state: 'auto' }, BOB)
    const audit = await store.listAudit({ limit: 10 })
    assert.deepEqual(
      audit.map(({ principal, action, target, decision, details }) => [principal, action, target, decision, details]),
      [
        [
          BOB.id,
          'breaker_force',
          'one',
          'allow',
          { worker: 'probe', state: 'open', before: 'closed', after: 'open', reason: 'maintenance' },
        ],
        [BOB.id, 'breaker_force', 'one', 'allow', { worker: 'probe', state: 'auto', before: 'open', after: 'closed' }],
      ],
    )
  })

  test('works, and fails aloud, where the journal takes nothing', async () => {
    const refuse = async () => {
      throw mhvError('MHV_JOURNAL_FULL', 'no room')
    }
    const store = { ...createMemoryStore(createFakeClock(0)), appendAudit: refuse }
    const { control, parts } = createRuntimeFixture({ store })
    const forcing = control('breaker_force', { on: 'one', worker: 'probe', state: 'open' })
    await assert.rejects(forcing, { code: 'MHV_JOURNAL_FULL' })
    assert.equal(parts.breakers.list()[0]?.forced, 'open')
  })

  test('needs the process that holds the instance', async () => {
    const { parts } = createRuntimeFixture()
    for (const name of ['breaker_list', 'breaker_force']) {
      const input = name === 'breaker_force' ? { on: 'one', worker: 'probe', state: 'open' } : {}
      const calling = callControl({ ...parts, runtime: null }, { name, input, principal: BOB })
      await assert.rejects(calling, { code: 'MHV_INSTANCE_LOCKED' })
    }
  })
})
