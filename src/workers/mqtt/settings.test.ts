import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { mqttSettings } from './settings.ts'

suite('settings that would not do what they say are refused', () => {
  const wrong = ['secret#', 'a/#/b', 'a+/b', '#/', 'a\u0000b', '$share//a', '']
  for (const topic of wrong) {
    test(`the topic filter ${JSON.stringify(topic)}, in a rule and in a standing subscription`, () => {
      const rule = mqttSettings.safeParse({ topic_rules: [{ topics: [topic], decision: 'deny' }] })
      const subscription = mqttSettings.safeParse({ subscriptions: [{ name: 'a', target: 't', topic }] })
      assert.deepEqual([rule.success, subscription.success], [false, false])
      if (topic === 'secret#') assert.match(String(rule.error), /is no topic filter: it has a wildcard/)
    })
  }

  test('two standing subscriptions of one name', () => {
    const subscription = { name: 'a', target: 't', topic: 'x' }
    assert.ok(mqttSettings.safeParse({ subscriptions: [subscription] }).success)
    assert.equal(
      mqttSettings.safeParse({ subscriptions: [subscription, { ...subscription, topic: 'y' }] }).success,
      false,
    )
  })
})
