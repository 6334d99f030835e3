import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { didYouMean, nearest, quoted } from './suggest.ts'

suite('suggestions', () => {
  test('the nearest name that may have been meant, or none', () => {
    const names = ['host', 'port', 'connect_timeout', 'id']
    const meant: Record<string, string | undefined> = {
      hots: 'host',
      ho: 'host',
      conect_timout: 'connect_timeout',
      something_else: undefined,
      x: undefined,
      '': undefined,
    }
    for (const [word, expected] of Object.entries(meant)) assert.equal(nearest(word, names), expected, word)
    assert.equal(nearest('host', []), undefined)
    assert.equal(didYouMean('hots', names), '; did you mean "host"?')
    assert.equal(didYouMean('something_else', names), '')
  })

  test('a word of a megabyte holds nobody up', () => {
    const started = process.cpuUsage()
    assert.equal(nearest('h'.repeat(1_000_000), ['host']), undefined)
    assert.ok(process.cpuUsage(started).user < 500_000)
    assert.ok(quoted('h'.repeat(1_000_000)).length < 200)
  })

  test('a quoted name shows what it is made of', () => {
    assert.equal(quoted('a"b\n\u001b[2J'), '"a\\"b\\n\\u001b[2J"')
  })
})
