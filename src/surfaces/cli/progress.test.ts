import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, mock, test } from 'node:test'
import { bytesText, createMeter, startProgress } from './progress.ts'

const MIB = 1024 * 1024

describe('the progress of a transfer', () => {
  test('tells bytes, share, rate, time left and what it is about', () => {
    const meter = createMeter('ssh.upload', 0)
    meter.report({ progress: 0, total: 8 * MIB, unit: 'bytes' }, 0)
    meter.report({ progress: 2 * MIB, total: 8 * MIB, unit: 'bytes', message: 'app.tar' }, 4_000)
    assert.equal(meter.text(4_000), 'ssh.upload  4.00 s  2.0 MiB of 8.0 MiB (25%)  512 KiB/s  12.0 s left  app.tar')
  })

  test('without a total has no share and no time left', () => {
    const meter = createMeter('x', 0)
    meter.report({ progress: 0, unit: 'bytes' }, 0)
    meter.report({ progress: MIB, unit: 'bytes' }, 1_000)
    assert.equal(meter.text(1_000), 'x  1.00 s  1.0 MiB  1.0 MiB/s')
  })

  test('the rate is that of the last ten seconds', () => {
    const meter = createMeter('x', 0)
    for (let second = 0; second <= 60; second++) {
      const fast = second <= 30 ? second * 10 : 300 + (second - 30)
      meter.report({ progress: fast * MIB, total: 1000 * MIB, unit: 'bytes' }, second * 1_000)
    }
    assert.match(meter.text(60_000), / {2}1\.0 MiB\/s {2}11 min 10 s left$/)
  })

  test('what stands still gets slower, and what began anew has no rate yet', () => {
    const meter = createMeter('x', 0)
    meter.report({ progress: 0, unit: 'bytes' }, 0)
    meter.report({ progress: 10 * MIB, unit: 'bytes' }, 2_000)
    assert.match(meter.text(2_000), /5\.0 MiB\/s/)
    assert.match(meter.text(10_000), /1\.0 MiB\/s/)
    meter.report({ progress: MIB, unit: 'bytes' }, 11_000)
    assert.equal(meter.text(12_000), 'x  12.0 s  1.0 MiB')
  })

  test('steps are counted as they are, with the time left', () => {
    const meter = createMeter('x', 0)
    meter.report({ progress: 1, total: 4 }, 0)
    meter.report({ progress: 2, total: 4 }, 3_000)
    assert.equal(meter.text(3_000), 'x  3.00 s  2 of 4 (50%)  6.00 s left')
    meter.report({ progress: 4, total: 4, message: 'a\x1b[2Jb\nc' }, 6_000)
    assert.equal(meter.text(6_000), 'x  6.00 s  4 of 4 (100%)  ab c')
  })

  test('nothing known is the time alone; nothing to do is no division', () => {
    assert.equal(createMeter('x', 0).text(1_000), 'x  1.00 s')
    const meter = createMeter('x', 0)
    meter.report({ progress: 0, total: 0, unit: 'bytes' }, 0)
    assert.equal(meter.text(1_000), 'x  1.00 s  0 B of 0 B')
  })

  test('sizes have two digits at least and no more than three', () => {
    const sizes = [0, 999, 1000, 1024, 10 * 1024, 1023 * 1024, 1.5 * MIB, 20_000 * MIB, 5e15]
    assert.deepEqual(sizes.map(bytesText), [
      '0 B',
      '999 B',
      '1.0 KiB',
      '1.0 KiB',
      '10 KiB',
      '1.0 MiB',
      '1.5 MiB',
      '20 GiB',
      '4547 TiB',
    ])
  })
})

describe('what is told while something goes on', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setInterval'] }))
  afterEach(() => mock.timers.reset())

  function watch(onTerminal: boolean, mayDraw?: () => boolean) {
    const told: string[] = []
    const tell = (how: string) => (text: string) => void told.push(`${how}: ${text}`)
    const ticker = startProgress({ onTerminal, progress: tell('drawn'), note: tell('line') }, 'x', mayDraw)
    return { told, ticker }
  }

  test('on a terminal a line that is drawn every second, news or not', () => {
    const { told, ticker } = watch(true)
    mock.timers.tick(3_000)
    ticker.stop()
    mock.timers.tick(3_000)
    assert.equal(told.length, 3)
    assert.ok(told.every((line) => line.startsWith('drawn: x  ')))
  })

  test('elsewhere at most a line in ten seconds, and only for news', () => {
    const { told, ticker } = watch(false)
    mock.timers.tick(20_000)
    assert.deepEqual(told, [])
    for (let step = 0; step < 1_000; step++) ticker.report({ progress: step, total: 1_000 })
    mock.timers.tick(9_000)
    assert.deepEqual(told, [])
    mock.timers.tick(21_000)
    assert.equal(told.length, 1)
    assert.match(told[0] ?? '', /^line: x {2}.* 999 of 1000 \(99%\)/)
    ticker.stop()
  })

  test('a line of output that is not ended is not drawn over', () => {
    let free = false
    const { told, ticker } = watch(true, () => free)
    mock.timers.tick(2_000)
    assert.deepEqual(told, [])
    free = true
    mock.timers.tick(1_000)
    assert.equal(told.length, 1)
    ticker.stop()
  })
})
