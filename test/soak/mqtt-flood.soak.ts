import { suite, test } from 'node:test'
import { mosquittoMissing } from '../helpers/mosquitto.ts'
import { flood } from '../helpers/mqtt-flood.ts'

suite('MQ-05: memory under a flood of a minute', { skip: mosquittoMissing() ?? false }, () => {
  test('10,000 messages/s of 1 KB for 60 s, 1,000 subscriptions and a consumer that hangs', () => flood(60))
})
