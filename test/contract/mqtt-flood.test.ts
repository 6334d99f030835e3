import { suite, test } from 'node:test'
import { mosquittoMissing } from '../helpers/mosquitto.ts'
import { flood } from '../helpers/mqtt-flood.ts'

suite('MQ-05: memory under a flood', { skip: mosquittoMissing() }, () => {
  // test/soak/mqtt-flood.soak.ts takes the 60 seconds of the promise; what grows without bounds does so in these, too.
  test('MQ-05: 10,000 messages/s of 1 KB, 1,000 subscriptions and a consumer that hangs stay within the buffers', () =>
    flood(4))
})
