import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import type { IncomingMessage } from '../client/mqtt-session.ts'
import { readReport } from '../ota/report.ts'
import { readAnswer } from './answer.ts'
import { deviceText } from './device-payload.ts'

function incoming(payload: string | Uint8Array, more: Partial<IncomingMessage> = {}): IncomingMessage {
  const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload
  const topic = 'mahavishnu/acks/pump/c-1'
  return { topic, payload: bytes, qos: 1, retain: false, duplicate: false, received_at: 0, endpoint: 'e', ...more }
}

const PLAN = { command_id: 'c-1', topics_name_it: true }
const FIRMWARE = { url: 'https://a.example/', version: '2.0', size: 1, sha256: 'ab'.repeat(32) }

suite('what devices answer', () => {
  const answers: readonly (readonly [payload: string, is: string])[] = [
    ['', 'acknowledged'],
    ['{"status":"ok"}', 'acknowledged'],
    ['{"status":"done","command_id":"c-1"}', 'acknowledged'],
    ['{"status":"rejected","message":"busy"}', 'rejected'],
    ['{"status":"failed"}', 'rejected'],
    ['{"status":"ok","command_id":"c-2"}', 'stray'],
    ['{"status":"ok","command_id":["c-1"]}', 'stray'],
    ['{}', 'invalid'],
    ['{"status":"perhaps"}', 'invalid'],
    ['{"status":true}', 'invalid'],
    ['{"__proto__":{"status":"ok"}}', 'invalid'],
    ['{"constructor":{"prototype":{"status":"ok"}}}', 'invalid'],
    ['[{"status":"ok"}]', 'invalid'],
    ['"ok"', 'invalid'],
    ['null', 'invalid'],
    ['{"status":"ok"', 'invalid'],
    ['ok', 'invalid'],
    [`${'['.repeat(8_000)}${']'.repeat(8_000)}`, 'invalid'],
    [`{"status":"ok","fill":"${'x'.repeat(20_000)}"}`, 'invalid'],
  ]
  for (const [payload, is] of answers) {
    test(`${payload.slice(0, 60)} is ${is}`, () => assert.equal(readAnswer(incoming(payload), PLAN).is, is))
  }

  const unrelated: readonly (readonly [payload: string, more: Partial<IncomingMessage>, is: string])[] = [
    ['', {}, 'stray'],
    ['{"status":"ok"}', {}, 'stray'],
    ['{"status":"ok","command_id":"c-2"}', {}, 'stray'],
    ['{"status":"ok","command_id":"c-1"}', {}, 'acknowledged'],
    ['{"status":"ok"}', { correlation_data: Buffer.from('c-1') }, 'acknowledged'],
    ['', { correlation_data: Buffer.from('c-1') }, 'acknowledged'],
    ['', { correlation_data: Buffer.from('') }, 'stray'],
  ]
  for (const [payload, more, is] of unrelated) {
    test(`where the topic names no command, ${payload || 'nothing'} with ${Object.keys(more).join() || 'nothing'} is ${is}`, () => {
      const plan = { ...PLAN, topics_name_it: false }
      assert.equal(readAnswer(incoming(payload, more), plan).is, is)
    })
  }

  test('correlation data of another command are another answer, whatever the payload says', () => {
    const other = { correlation_data: Buffer.from('c-2') }
    assert.equal(readAnswer(incoming('{"status":"ok"}', other), PLAN).is, 'stray')
  })

  test('text that would act on a terminal, or is too long, is shown as text', () => {
    const answer = readAnswer(
      incoming(JSON.stringify({ status: 'rejected', message: '\u001b[2J\u202eoops\n\ud800' })),
      PLAN,
    )
    assert.deepEqual(answer, { is: 'rejected', message: '\ufffd[2J\ufffdoops\ufffd\ufffd' })
    assert.equal(deviceText('x'.repeat(10_000))?.length, 201)
    assert.equal(deviceText({ toString: 'x' }), null)
  })

  test('whatever bytes come, reading them never throws and changes no prototype', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 300 }),
          fc.json().map((text) => Buffer.from(text)),
        ),
        (bytes) => {
          readAnswer(incoming(bytes), PLAN)
          readReport(incoming(bytes), 'r-1', FIRMWARE)
          assert.equal(({} as Record<string, unknown>).status, undefined)
        },
      ),
    )
  })
})

suite('what devices report of an update', () => {
  const rows: readonly (readonly [fields: object, is: string, state?: string])[] = [
    [{ rollout_id: 'r-1', state: 'downloading' }, 'report', 'downloading'],
    [{ rollout_id: 'r-1', state: 'updated', version: '2.0' }, 'report', 'updated'],
    [{ rollout_id: 'r-1', state: 'updated', version: '2.0', sha256: 'AB'.repeat(32) }, 'report', 'updated'],
    [{ rollout_id: 'r-1', state: 'updated', version: '1.0' }, 'report', 'failed'],
    [{ rollout_id: 'r-1', state: 'verified', sha256: 'cd'.repeat(32) }, 'report', 'failed'],
    [{ rollout_id: 'r-1', state: 'failed', message: 'no room' }, 'report', 'failed'],
    [{ rollout_id: 'r-2', state: 'updated', version: '2.0' }, 'stray'],
    [{ rollout_id: 'r-1', state: 'updated' }, 'invalid'],
    [{ rollout_id: 'r-1', state: 'updated', version: 2 }, 'invalid'],
    [{ rollout_id: 'r-1', state: 'updated', version: '2.0', sha256: { toString: 'x' } }, 'invalid'],
    [{ rollout_id: 'r-1', state: 'waiting' }, 'invalid'],
    [{ rollout_id: 'r-1', state: 'constructor' }, 'invalid'],
    [{ state: 'updated', version: '2.0' }, 'invalid'],
    [{ rollout_id: ['r-1'], state: 'updated', version: '2.0' }, 'invalid'],
  ]
  for (const [fields, is, state] of rows) {
    test(`${JSON.stringify(fields).slice(0, 90)} is ${state ?? is}`, () => {
      const report = readReport(incoming(JSON.stringify(fields)), 'r-1', FIRMWARE)
      assert.equal(report.is, is)
      if (report.is === 'report') assert.equal(report.state, state)
    })
  }
})
