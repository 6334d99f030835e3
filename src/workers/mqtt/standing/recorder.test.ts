import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { systemClock } from '../../../core/clock.ts'
import type { WorkerRecords } from '../../../core/context.ts'
import { mhvError } from '../../../core/errors.ts'
import type { NewRecord } from '../../../core/records.ts'
import { createFakeClock } from '../../../testing/fake-clock.ts'
import type { IncomingMessage } from '../client/mqtt-session.ts'
import { createRecorder } from './recorder.ts'

const log = { debug() {}, info() {}, warn() {}, error() {} } as unknown as Parameters<typeof createRecorder>[0]['log']

function incoming(payload: Uint8Array, qos: 0 | 1 = 0): IncomingMessage {
  return { topic: 'sensors/d/t', payload, qos, retain: false, duplicate: false, received_at: 0, endpoint: 'e' }
}

/** A recorder whose journal takes a group when it is told to. */
function slow() {
  const groups: (readonly NewRecord[])[] = []
  const waiting: (() => void)[] = []
  const failing = { on: false }
  const records = {
    append(_stream: string, group: readonly NewRecord[]) {
      groups.push(group)
      if (failing.on) return Promise.reject(new Error('no space'))
      return new Promise<void>((resolve) => waiting.push(resolve))
    },
  } as unknown as WorkerRecords
  let lost = 0
  let kept = 0
  const recorder = createRecorder({
    target: 'site-1',
    records,
    clock: systemClock,
    log,
    onKept: (messages) => {
      kept += messages
    },
    onLost: (messages) => {
      lost += messages
    },
  })
  const takeAll = async () => {
    for (let turn = 0; turn < 5; turn++) {
      for (const resolve of waiting.splice(0)) resolve()
      await delay(0)
    }
  }
  return { recorder, groups, takeAll, counted: () => ({ kept, lost }), failing }
}

suite('messages that wait to be written', () => {
  test('a message of QoS 1 is tried again until the journal takes it, and its consumer does not fail', async () => {
    const clock = createFakeClock(1_700_000_000_000)
    let full = true
    let written = 0
    const records = {
      async append(_stream: string, group: readonly unknown[]) {
        if (full) throw mhvError('MHV_JOURNAL_FULL', 'no room')
        written += group.length
      },
    }
    const onLost = () => assert.fail('lost')
    const to = { target: 'site-1', records: records as never, clock, log, onKept: () => undefined, onLost }
    const recorder = createRecorder(to)
    const kept = recorder.keep('all', incoming(Buffer.from('x'), 1))
    for (let step = 0; step < 3; step++) await clock.advance(1_000)
    assert.equal(written, 0)
    full = false
    await clock.advance(1_000)
    await kept
    assert.equal(written, 1)
  })

  test('a message of QoS 1 that no journal ever takes is given up, told and counted, and holds up nobody', async () => {
    const clock = createFakeClock(1_700_000_000_000)
    let tries = 0
    let lost = 0
    const records = {
      async append() {
        tries += 1
        throw mhvError('MHV_INTERNAL', 'it cannot be stored')
      },
    }
    const onLost = (messages: number) => {
      lost += messages
    }
    const onKept = () => assert.fail('kept')
    const recorder = createRecorder({ target: 'site-1', records: records as never, clock, log, onKept, onLost })
    const done = recorder.keep('all', incoming(Buffer.from('x'), 1))
    for (let step = 0; step < 12; step++) await clock.advance(1_000)
    await done
    assert.deepEqual([tries, lost], [11, 1])
  })

  test('whoever brings more bytes than may wait has to wait, and nothing is lost', async () => {
    const { recorder, groups, takeAll, counted } = slow()
    const big = Buffer.alloc(65_536)
    let kept = 0
    let held: unknown
    while (held === undefined && kept < 1_000) {
      held = recorder.keep('s', incoming(big))
      kept += 1
    }
    assert.ok(kept <= 8 * 16 + 1, `${kept} messages of 64 KiB waited`)
    await takeAll()
    await held
    assert.equal(groups.flat().length, kept)
    assert.deepEqual(counted(), { kept, lost: 0 })
    await recorder.close()
  })

  test('what could not be written counts as lost, and not as kept', async () => {
    const { recorder, counted, failing } = slow()
    failing.on = true
    for (let n = 0; n < 3; n++) void recorder.keep('s', incoming(Buffer.from('x')))
    await recorder.close()
    assert.deepEqual(counted(), { kept: 0, lost: 3 })
  })

  test('a payload does not keep alive what was read with it', async () => {
    const { recorder, groups, takeAll } = slow()
    const read = Buffer.alloc(1_048_576)
    void recorder.keep('s', incoming(read))
    const closed = recorder.close()
    await takeAll()
    await closed
    assert.equal(groups[0]?.[0]?.payload.byteLength, 65_536)
    assert.ok((groups[0]?.[0]?.payload.buffer.byteLength ?? 0) <= 65_536)
  })
})
