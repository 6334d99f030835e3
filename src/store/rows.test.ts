import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { keepLargeJson } from '../core/large-json.ts'
import { sampleRun } from '../testing/store-samples.ts'
import { decodeRun, decodeWritten, encodeRun, RUN_COLUMNS } from './rows.ts'

const INPUT_AT = RUN_COLUMNS.indexOf('input')

suite('the record of what was just written', () => {
  test('is the one that a later read gives, for a copy of it, too', () => {
    const row = encodeRun(sampleRun(1, {}, { input: { list: [1, { text: 'é' }], left_out: undefined } }), 1)
    assert.deepEqual(decodeWritten(row), decodeRun(row))
    assert.deepEqual({ ...decodeWritten(row) }, decodeRun(row))
    assert.deepEqual(Object.keys(decodeWritten(row)), Object.keys(decodeRun(row)))
  })

  test('decodes its input when it is asked for, and once', () => {
    const row = [...encodeRun(sampleRun(1, {}, { input: { list: [1] } }), 1)]
    const run = decodeWritten(row)
    assert.equal(run.input, run.input)
    const damaged = row.with(INPUT_AT, '{')
    const unread = decodeWritten(damaged)
    assert.equal(unread.run_id, run.run_id)
    assert.throws(() => unread.input, { code: 'MHV_JOURNAL_CORRUPT' })
    assert.throws(() => decodeRun(damaged), { code: 'MHV_JOURNAL_CORRUPT' })
  })
})

test('the text of an input that is known is not made again', () => {
  const input = { text: 'x'.repeat(10_000) }
  const known = JSON.stringify(input)
  keepLargeJson(input, known)
  // Whatever became of the input since: the journal has what was given.
  input.text = 'changed'
  assert.equal(encodeRun(sampleRun(1, {}, { input }), 1)[INPUT_AT], known)
})
