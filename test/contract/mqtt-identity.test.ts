import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { messages } from '../../src/workers/mqtt/standing/messages.ts'
import { subscribe } from '../../src/workers/mqtt/subscribe/subscribe.ts'
import { mosquittoMissing, startMosquitto } from '../helpers/mosquitto.ts'
import { brokerTarget, message, never, startMqttWorker } from '../helpers/mqtt-context.ts'
import { until } from '../helpers/processes.ts'

type Mismatch = 'reject' | 'mark' | 'ignore'

/** What a run and a standing subscription get of a message of a device, and of one that says it is another. */
async function received(mismatch: Mismatch) {
  await using broker = await startMosquitto()
  const target = brokerTarget(broker)
  const settings = {
    identity: { mismatch },
    subscriptions: [{ name: 'all', target: 'site-1', topic: 'sensors/#' }],
  }
  await using worker = await startMqttWorker({ settings, targets: { 'site-1': target } })
  await using other = await startMqttWorker()
  const sender = other.session(brokerTarget(broker))
  await sender.ready(never)
  assert.ok(await until(() => worker.connection.standing().active === 1))
  const call = subscribe.input.parse({
    filters: ['sensors/#'],
    qos: 1,
    seconds: 5,
    until: { equals: 'last', path: '/value' },
  })
  const running = subscribe.run(worker.context(target), call)
  assert.ok(await until(async () => (await broker.log()).split('sensors/# (QoS 1)').length > 2))
  for (const body of [{ device_id: 'pump-7', value: 1 }, { device_id: 'pump-8', value: 2 }, { value: 'last' }])
    await sender.publishNow(message('sensors/pump-7/t', JSON.stringify(body)), never)
  const run = await running
  const expected = mismatch === 'reject' ? 2 : 3
  assert.ok(await until(() => worker.connection.standing().kept >= expected))
  const kept = await messages.run(worker.context(target), messages.input.parse({ device: 'pump-7' }))
  const of = (list: readonly { payload: string; identity_problem?: string | undefined }[]) =>
    list.map(({ payload, identity_problem }) => [(JSON.parse(payload) as { value: unknown }).value, identity_problem])
  const { impostors } = worker.session(target).facts()
  return { run: of(run.messages), kept: of(kept.messages).reverse(), impostors }
}

suite('a device is the one of its topic, for runs and standing subscriptions alike', {
  skip: mosquittoMissing(),
}, () => {
  const good = [1, undefined]
  const last = ['last', undefined]

  test('what says it is another is handed to nobody, and counted', async () => {
    assert.deepEqual(await received('reject'), { run: [good, last], kept: [good, last], impostors: 1 })
  })

  test('or it is marked', async () => {
    const all = [good, [2, 'payload'], last]
    assert.deepEqual(await received('mark'), { run: all, kept: all, impostors: 0 })
  })

  test('negative control: where it is ignored, it is found in both', async () => {
    const all = [good, [2, undefined], last]
    assert.deepEqual(await received('ignore'), { run: all, kept: all, impostors: 0 })
  })
})
