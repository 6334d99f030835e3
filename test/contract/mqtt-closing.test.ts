import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type Mosquitto, mosquittoMissing, startMosquitto } from '../helpers/mosquitto.ts'
import { brokerTarget, message, never, startMqttWorker } from '../helpers/mqtt-context.ts'
import { until } from '../helpers/processes.ts'
import { PUBLISH, startScriptedBroker } from '../helpers/scripted-broker.ts'

const skip = mosquittoMissing()
const STEP_MS = 7
const MOMENTS = 12

suite('closing', () => {
  test('at any moment it ends soon, nothing waits on, and no connection is left', async () => {
    // Takes some messages and acknowledges none: whoever closes has something on its way.
    await using first = await startScriptedBroker(({ type, topic }) => type === PUBLISH && topic === 't')
    await using second = await startScriptedBroker(({ type, topic }) => type === PUBLISH && topic === 't')
    const target = brokerTarget([first, second].map(({ url }) => ({ url }) as Mosquitto))
    await Promise.all(
      Array.from({ length: MOMENTS }, async (_, moment) => {
        const settings = { broker_switch_threshold: 1, failback_probe: 0.01, failback_after: 0, ack_timeout: 5 }
        const worker = await startMqttWorker({ settings })
        const session = worker.session(target)
        const ended: Promise<unknown>[] = []
        const end = (promise: Promise<unknown>) => ended.push(promise.catch(() => undefined))
        const onMessage = () => undefined
        for (let n = 0; n < 5; n++) {
          end(session.subscribe(`a/${n}`, { qos: 1, signal: never, onMessage }))
          end(session.ready(never).then(() => session.publishNow(message('t', String(n)), never)))
        }
        await delay(moment * STEP_MS)
        // While some connect, subscribe, send, or turn to the other broker.
        if (moment % 3 === 1) for (const client of first.clients()) client.cut()
        if (moment % 3 === 2) await delay(moment)
        const all = worker[Symbol.asyncDispose]().then(() => Promise.all(ended))
        const late = delay(8_000).then(() => 'late')
        assert.notEqual(await Promise.race([all, late]), 'late', `moment ${moment}`)
      }),
    )
    const left = () => first.clients().length + second.clients().length
    assert.ok(await until(() => left() === 0), `${left()} connections`)
  })
})

suite('two processes with one client id', { skip }, () => {
  test('each is told, and they take turns less and less often', async () => {
    await using broker = await startMosquitto()
    const settings = { presence_topic: '', reconnect_base: 0.2, reconnect_cap: 30 }
    await using one = await startMqttWorker({ settings })
    await using two = await startMqttWorker({ settings })
    const target = brokerTarget(broker, { client_id: 'same' })
    await one.session(target).ready(never)
    await two.session(target).ready(never)
    await delay(3_000)
    const connected = (await broker.log()).match(/New client connected .* as same/g)?.length ?? 0
    assert.ok(connected >= 2 && connected < 25, `${connected} connections`)
    const said = [...one.log.lines, ...two.log.lines].map(({ fields }) => String(fields.message))
    assert.ok(
      said.some((text) => /another client has the client id "same"/.test(text)),
      said.join('\n'),
    )
  })
})
