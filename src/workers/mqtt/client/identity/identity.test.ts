import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { allowPublish, allowSubscribe } from '../topics/topic-rules.ts'
import { identityProblem, topicFor } from './identity.ts'

suite('identity of devices', () => {
  const check = (
    payload: unknown,
    { topic = 'mahavishnu/status/d1', property = '', user_properties = {} as Record<string, string | string[]> } = {},
  ) => {
    const text = typeof payload === 'string' ? payload : JSON.stringify(payload)
    return identityProblem({ topic, payload: Buffer.from(text), user_properties }, property)
  }

  test('a claim in the payload has to be that of the topic', () => {
    assert.equal(check({ device_id: 'd1', value: 1 }), undefined)
    assert.equal(check({ value: 1 }), undefined)
    assert.equal(check('text'), undefined)
    assert.equal(check('device_id: d2'), undefined)
    assert.equal(check('"device_id"'), undefined)
    assert.equal(check({ device_id: 'd2' }), 'payload')
    assert.equal(check({ deviceId: ['d1'] }), 'payload')
    assert.equal(check({ device_id: 'd1', deviceId: 'd2' }), 'payload')
    assert.equal(check('{"device_id":"d1","device_id":"d2"}'), 'payload')
    assert.equal(check('{"__proto__":{"device_id":"d2"}}'), undefined)
    // A name may be written with escapes.
    assert.equal(check('{"\\u0064evice_\\u0069d":"d2"}'), 'payload')
    assert.equal(check(`  {"pad":"${'x'.repeat(100_000)}","device_id":"d2"}`), 'payload')
  })

  test('where a topic is about nobody, or speaks to a device, there is nobody to be', () => {
    for (const topic of ['other/d1', 'mahavishnu/commands/d1', 'mahavishnu/ota/d1', 'mahavishnu/status', 'sensors'])
      assert.equal(check({ device_id: 'd2' }, { topic, property: 'by' }), undefined, topic)
    for (const topic of ['mahavishnu/commands/d1/ack', 'mahavishnu/ota/d1/state', 'sensors/d1/t', 'devices/d1'])
      assert.equal(check({ device_id: 'd2' }, { topic }), 'payload', topic)
  })

  test('a gateway speaks for its devices, and for no other gateway', () => {
    const topic = 'gateways/g1/reports'
    assert.equal(check({ gateway_id: 'g1', device_id: 'd7' }, { topic }), undefined)
    assert.equal(check({ gateway_id: 'g2' }, { topic }), 'payload')
    assert.equal(check({ device_id: 'd1', gateway_id: 'g1' }), undefined)
  })

  test('where the broker passes on who sent it, nobody else may, and nobody without a name', () => {
    const by = (user_properties: Record<string, string | string[]>) =>
      check({ device_id: 'd1' }, { property: 'client-id', user_properties })
    assert.equal(by({ 'client-id': 'd1' }), undefined)
    assert.equal(by({ 'client-id': 'd2' }), 'sender')
    // One that the sender has added beside the broker's.
    assert.equal(by({ 'client-id': ['d1', 'd2'] }), 'sender')
    assert.equal(by({}), 'sender')
  })

  test('the id of a device is one level of a topic', () => {
    assert.equal(topicFor('mahavishnu/commands/{device_id}', 'pump-$&'), 'mahavishnu/commands/pump-$&')
    for (const id of ['a/b', '+', '#', '', 'a\0b', '$SYS'])
      assert.throws(() => topicFor('mahavishnu/commands/{device_id}', id), { code: 'MHV_MQTT_TOPIC_INVALID' })
    assert.throws(() => topicFor('mahavishnu/commands', 'a'), { code: 'MHV_MQTT_TOPIC_INVALID' })
  })
})

suite('topic rules', () => {
  const rule = (decision: 'allow' | 'deny', topics: string[], more: object = {}) => ({
    principals: ['*'],
    actions: ['publish', 'subscribe'] as ('publish' | 'subscribe')[],
    topics,
    decision,
    ...more,
  })
  const may = (act: () => void) => {
    try {
      act()
      return true
    } catch (error) {
      assert.equal((error as { code: string }).code, 'MHV_MQTT_TOPIC_DENIED')
      return false
    }
  }
  const me = { id: 'agent:me' }

  test('the first that fits decides; without any, the policy alone does; where there are some, none means no', () => {
    assert.ok(may(() => allowPublish([], me, 'a')))
    const rules = [rule('deny', ['a/secret']), rule('allow', ['a/#'])]
    assert.ok(may(() => allowPublish(rules, me, 'a/b')))
    assert.ok(!may(() => allowPublish(rules, me, 'a/secret')))
    assert.ok(!may(() => allowPublish(rules, me, 'b')))
    assert.ok(may(() => allowPublish([...rules].reverse(), me, 'a/secret')))
  })

  test('a filter needs one rule that allows all of it, and none before that denies some of it', () => {
    const rules = [rule('deny', ['a/secret/#']), rule('allow', ['a/#'])]
    assert.ok(may(() => allowSubscribe(rules, me, 'a/b/+')))
    for (const filter of ['a/#', 'a/+', 'a/secret', '#', '+/b', '$share/g/a/#'])
      assert.ok(!may(() => allowSubscribe(rules, me, filter)), filter)
    assert.ok(may(() => allowSubscribe(rules, me, '$share/g/a/b')))
  })

  test('who asks and what for are part of it', () => {
    const rules = [rule('allow', ['#'], { principals: ['user:*'], actions: ['publish'] })]
    assert.ok(may(() => allowPublish(rules, { id: 'user:a' }, 'x')))
    assert.ok(!may(() => allowSubscribe(rules, { id: 'user:a' }, 'x')))
    assert.ok(!may(() => allowPublish(rules, me, 'x')))
  })
})
