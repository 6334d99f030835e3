import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFixture, fails, fleet } from '../../test/helpers/batch-fixture.ts'
import { createBatches } from '../runtime/batch.ts'
import { observeBatches } from './batch-metrics.ts'

test('batches: how many are at work, what of them waits, and how targets and batches end', async () => {
  const fixture = createFixture(fleet(7), (target) => (target === 't0006' ? fails() : { value: null }))
  const { registry } = fixture.parts.metrics
  const observer = observeBatches(registry, () => batches.numbers())
  const batches = createBatches(fixture.parts, fixture.invoke, observer)
  async function numbers(): Promise<Record<string, string>> {
    const lines = (await registry.metrics()).split('\n').filter((line) => /^mahavishnu_batch/.test(line))
    return Object.fromEntries(lines.map((line) => line.split(' ') as [string, string]))
  }
  const request = { operation: 'probe.script', input: {}, select: '*', parallel: 2, priority: 'normal' } as const
  const principal = { id: 'user:alice', kind: 'user' } as const
  const { id } = await batches.start({ ...request, max_fail: 0 }, principal)
  await fixture.clock.advance(150)
  assert.deepEqual(await numbers(), {
    'mahavishnu_batches{state="running"}': '1',
    'mahavishnu_batches{state="stopping"}': '0',
    'mahavishnu_batch_targets{state="acting"}': '2',
    'mahavishnu_batch_targets{state="waiting"}': '3',
    'mahavishnu_batch_targets_total{outcome="done"}': '2',
  })
  const stopping = batches.stop(id, principal, false)
  await stopping
  const stopped = await numbers()
  assert.equal(stopped['mahavishnu_batches{state="stopping"}'], '1')
  assert.equal(stopped['mahavishnu_batch_targets{state="waiting"}'], '0')
  await fixture.run(batches.wait(id, 45))
  const other = await batches.start({ ...request, select: 't0006,t0007', parallel: 1 }, principal)
  await fixture.run(batches.wait(other.id, 45))
  assert.deepEqual(await numbers(), {
    'mahavishnu_batches{state="running"}': '0',
    'mahavishnu_batches{state="stopping"}': '0',
    'mahavishnu_batch_targets{state="acting"}': '0',
    'mahavishnu_batch_targets{state="waiting"}': '0',
    'mahavishnu_batches_total{state="stopped"}': '1',
    'mahavishnu_batches_total{state="failed"}': '1',
    'mahavishnu_batch_targets_total{outcome="done"}': '4',
    'mahavishnu_batch_targets_total{outcome="failed"}': '1',
  })
})
