import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { DAYS, type Fields, patternOf, slowOccurrences, ZONES } from '../../test/helpers/slow-recurrence.ts'
import { cronRecurrence, intervalRecurrence, isCron, isTimeZone, type Recurrence } from './recurrence.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** The next `count` occurrences, ISO 8601 without seconds. */
function next({ next: nextOf }: Recurrence, from: string, count: number): (string | null)[] {
  let at: number | null = Date.parse(from)
  return Array.from({ length: count }, () => {
    if (at !== null) at = nextOf(at)
    return at === null ? null : `${new Date(at).toISOString().slice(0, 16)}Z`
  })
}

const some = (values: readonly number[], most: number) =>
  fc
    .uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: most })
    .map((list) => list.sort((a, b) => a - b))
const anyFields = fc.record({
  minutes: some([0, 1, 15, 29, 30, 31, 45, 59], 4),
  hours: some([0, 1, 2, 3, 4, 12, 23], 6),
  weekdays: fc.oneof(fc.constant([]), some([0, 1, 2, 3, 4, 5, 6], 6)),
})

describe('RES-12: occurrences in local time', () => {
  for (const zone of ZONES) {
    test(`in ${zone} they are those of a slow model, over every change of the clocks`, () => {
      const check = (fields: Fields, day: string, offset: number) => {
        const from = Date.parse(`${day}T00:00Z`) - DAY + offset * MINUTE
        const until = from + 2 * DAY
        const recurrence = cronRecurrence(patternOf(fields), zone)
        const expected = slowOccurrences(fields, zone, from, until)
        const walked: number[] = []
        for (let at = recurrence.next(from); at !== null && at <= until; at = recurrence.next(at)) walked.push(at)
        assert.deepEqual(walked, expected)
        assert.deepEqual(recurrence.latest(from, until, 1_000).times, expected)
        const few = recurrence.latest(from, until, 3)
        assert.deepEqual(few, { times: expected.slice(-3), more: expected.length > 3 })
      }
      fc.assert(fc.property(anyFields, fc.constantFrom(...DAYS), fc.integer({ min: 0, max: 1439 }), check), {
        numRuns: 60,
      })
    })
  }

  test('a time in the hour that is skipped occurs once, when the hour is over', () => {
    const half = cronRecurrence('30 2 * * *', 'Europe/Berlin')
    assert.deepEqual(next(half, '2026-03-28T00:00Z', 3), [
      '2026-03-28T01:30Z',
      '2026-03-29T01:00Z',
      '2026-03-30T00:30Z',
    ])
    const often = cronRecurrence('*/20 * * * *', 'Europe/Berlin')
    assert.deepEqual(next(often, '2026-03-29T00:30Z', 3), [
      '2026-03-29T00:40Z',
      '2026-03-29T01:00Z',
      '2026-03-29T01:20Z',
    ])
    const howe = cronRecurrence('15 2 * * *', 'Australia/Lord_Howe')
    assert.deepEqual(next(howe, '2026-10-03T00:00Z', 2), ['2026-10-03T15:30Z', '2026-10-04T15:15Z'])
  })

  test('a time in the hour that comes twice occurs the first time only', () => {
    const half = cronRecurrence('30 2 * * *', 'Europe/Berlin')
    assert.deepEqual(next(half, '2026-10-24T12:00Z', 2), ['2026-10-25T00:30Z', '2026-10-26T01:30Z'])
    assert.deepEqual(next(half, '2026-10-25T01:00Z', 1), ['2026-10-26T01:30Z'])
  })

  test('a day that a zone has left out occurs once', () => {
    const noon = cronRecurrence('0 12 * * *', 'Pacific/Apia')
    assert.deepEqual(next(noon, '2011-12-29T00:00Z', 3), [
      '2011-12-29T22:00Z',
      '2011-12-30T10:00Z',
      '2011-12-30T22:00Z',
    ])
  })
})

describe('recurrences', () => {
  test('start and end bound them', () => {
    const bounds = { start: Date.parse('2026-01-01T02:00Z'), end: Date.parse('2026-01-01T04:00Z') }
    const hourly = cronRecurrence('@hourly', 'UTC', bounds)
    assert.deepEqual(next(hourly, '2020-01-01T00:00Z', 3), ['2026-01-01T02:00Z', '2026-01-01T03:00Z', null])
    assert.deepEqual(hourly.latest(0, Date.parse('2027-01-01T00:00Z'), 10).times.length, 2)
  })

  test('an interval is steady: from its start, else from the epoch, and through changes of the clocks', () => {
    assert.deepEqual(next(intervalRecurrence(15 * MINUTE), '2026-01-01T00:07Z', 2), [
      '2026-01-01T00:15Z',
      '2026-01-01T00:30Z',
    ])
    const own = intervalRecurrence(2 * HOUR, { start: Date.parse('2026-01-01T00:05Z') })
    assert.deepEqual(next(own, '2025-01-01T00:00Z', 3), ['2026-01-01T00:05Z', '2026-01-01T02:05Z', '2026-01-01T04:05Z'])
    assert.deepEqual(next(own, '2026-01-01T00:05Z', 1), ['2026-01-01T02:05Z'])
  })

  test('years without a process cost no more than what is asked for', () => {
    const begun = performance.now()
    const { times, more } = cronRecurrence('* * * * *', 'Europe/Berlin').latest(0, Date.parse('2026-01-01T00:00Z'), 100)
    assert.equal(times.length, 100)
    assert.equal(more, true)
    assert.equal(times.at(-1), Date.parse('2026-01-01T00:00Z'))
    assert.ok(performance.now() - begun < 2_000)
  })

  test('what is no cron expression, or fits no date, is told from what is', () => {
    for (const good of ['* * * * *', '0 3 * * mon-fri', '@daily', '0 0 L * *', '*/7 1-5 1,15 * *'])
      assert.ok(isCron(good), good)
    for (const bad of ['', '* * * *', '* * * * * *', '61 * * * *', '@reboot', '0 0 31 2 *', '? * * * *', 'a b c d e']) {
      assert.ok(!isCron(bad), bad)
    }
    assert.ok(isTimeZone('Australia/Lord_Howe'))
    for (const bad of ['Europe/Berln', '+02:00', '']) assert.ok(!isTimeZone(bad), bad)
  })
})
