import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { mhvError } from '../../../core/errors.ts'
import type { OutgoingMessage, Qos } from '../client/mqtt-session.ts'
import { createTally } from './tally.ts'

const messageOf = (topic: string, qos: Qos): OutgoingMessage => ({
  topic,
  payload: Buffer.from('x'),
  qos,
  retain: false,
})
const ack = (qos: Qos, reason_code = 0) => ({ qos, reason_code, endpoint: 'mqtt://one', at: 0 })
const refused = (message: string) => mhvError('MHV_MQTT_PUBLISH_REJECTED', message)

suite('the tally of a call', () => {
  test('counts by what became of each, and says the weakest state', () => {
    const messages = [messageOf('a', 0), messageOf('b', 1), messageOf('c', 2), messageOf('d', 1)]
    const [a, b, c, d] = messages as [OutgoingMessage, OutgoingMessage, OutgoingMessage, OutgoingMessage]
    const held = createTally([b, c, d])
    held.add(b, { state: 'taken', ack: ack(1, 16) })
    held.add(c, { state: 'taken', ack: ack(2) })
    held.add(d, { state: 'taken', ack: ack(1) })
    assert.deepEqual(held.report(), {
      state: 'delivered',
      messages: 3,
      delivered: 3,
      accepted: 0,
      sent: 0,
      no_subscribers: 1,
      endpoint: 'mqtt://one',
    })
    const tally = createTally(messages)
    tally.add(b, { state: 'accepted' })
    tally.add(c, { state: 'taken', ack: ack(2) })
    tally.add(d, { state: 'accepted' })
    const before = tally.report()
    assert.deepEqual([before.state, before.accepted, before.delivered], ['accepted', 2, 1])
    tally.taken(ack(0))
    assert.deepEqual([tally.report().state, tally.report().sent], ['sent', 1])
    assert.equal(a.qos, 0)
  })

  test('names failures by their place in the call, whichever came first', () => {
    const messages = ['a', 'b', 'c'].map((topic) => messageOf(topic, 0))
    const tally = createTally(messages)
    tally.failed(messages[2] as OutgoingMessage, refused('third'))
    tally.failed(messages[1] as OutgoingMessage, refused('second'))
    tally.taken(ack(0))
    assert.throws(
      () => tally.report(),
      (error: ReturnType<typeof refused>) => {
        assert.equal(error.code, 'MHV_MQTT_PUBLISH_PARTIAL')
        assert.match(error.message, /^2 of 3 messages failed; message 2: second/)
        const { taken, failed, failures } = error.details as {
          taken: number
          failed: number
          failures: { index: number }[]
        }
        assert.deepEqual([taken, failed, failures.map(({ index }) => index)], [1, 2, [1, 2]])
        return true
      },
    )
  })

  test('where all failed, throws what says most about the effect', () => {
    const messages = ['a', 'b'].map((topic) => messageOf(topic, 0))
    const tally = createTally(messages)
    tally.failed(messages[0] as OutgoingMessage, mhvError('MHV_MQTT_NOT_CONNECTED', 'not sent'))
    tally.failed(messages[1] as OutgoingMessage, mhvError('MHV_MQTT_CONNECTION_LOST', 'may have arrived'))
    assert.throws(() => tally.report(), { code: 'MHV_MQTT_CONNECTION_LOST' })
  })
})
