import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import fc from 'fast-check'
import {
  checkTopic,
  coversFilter,
  filterProblem,
  levelProblem,
  MAX_LEVELS,
  matchesFilter,
  overlap,
  topicProblem,
} from './topics.ts'

/** Levels out of few letters, so that random topics and filters meet. */
const level = fc.constantFrom('a', 'b', '', 'ü')
const topic = fc.array(level, { minLength: 1, maxLength: 5 }).map((levels) => levels.join('/'))
const filter = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 5 }), fc.boolean())
  .map(([levels, all]) => [...levels, ...(all ? ['#'] : [])].join('/'))

/** 4.7 of the standard, word by word, without a thought for speed. */
function takes(pattern: readonly string[], levels: readonly string[]): boolean {
  const [first, ...rest] = pattern
  if (first === '#') return true
  if (first === undefined) return levels.length === 0
  if (levels.length === 0) return false
  return (
    (first === '+' || first === levels[0]) && (takes(rest, levels.slice(1)) || (rest[0] === '#' && levels.length === 1))
  )
}

suite('MQ-08: topics by the standard', () => {
  test('MQ-08: whatever is let through as a topic, a broker may be given', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), fc.string(), topic, filter), (text) => {
        if (topicProblem(text) !== undefined) return
        assert.ok(text.length > 0)
        assert.ok(Buffer.byteLength(text) <= 65_535)
        assert.ok(text.isWellFormed())
        assert.doesNotMatch(text, /[+#\0]/)
        assert.ok(!text.startsWith('$'))
        // It comes back from the wire as it was.
        assert.equal(Buffer.from(text).toString(), text)
      }),
      { numRuns: 2_000 },
    )
  })

  test('MQ-08: what the standard forbids is refused, wherever it stands', () => {
    const forbidden = fc.constantFrom('+', '#', '\0', '\u0007', '\u009f', '\ufdd0', '\uffff', '\ud800', '\u{1fffe}')
    fc.assert(
      fc.property(topic, forbidden, fc.nat(), (text, bad, at) => {
        const place = at % (text.length + 1)
        const broken = text.slice(0, place) + bad + text.slice(place)
        assert.notEqual(topicProblem(broken), undefined, JSON.stringify(broken))
        assert.throws(() => checkTopic(broken), { code: 'MHV_MQTT_TOPIC_INVALID' })
      }),
    )
    for (const text of [
      '',
      '$SYS/broker',
      '$share/g/x',
      'x'.repeat(65_536),
      'ü'.repeat(32_768),
      '/'.repeat(MAX_LEVELS),
    ])
      assert.notEqual(topicProblem(text), undefined, text.slice(0, 20))
    for (const text of ['a', '/', 'a//b', '/a', 'a/ b/$c', 'x'.repeat(65_535)])
      assert.equal(topicProblem(text), undefined)
  })

  test('an id of a device is one level', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (id) => {
        if (levelProblem(id) === undefined) assert.equal(`commands/${id}`.split('/').length, 2)
      }),
    )
    for (const id of ['a/b', '/', '+', '#', '', 'a\0', '$SYS']) assert.notEqual(levelProblem(id), undefined, id)
  })

  test('filters have wildcards only as whole levels, and # only at the end', () => {
    fc.assert(fc.property(filter, (text) => assert.equal(text === '' ? undefined : filterProblem(text), undefined)))
    for (const text of [
      '',
      'a+',
      '+a/b',
      'a/#/b',
      '#/a',
      'a#',
      '$share',
      '$share/',
      '$share/g',
      '$share/g/',
      '$share/+/a',
    ])
      assert.notEqual(filterProblem(text), undefined, text)
    for (const text of ['#', '+', '$SYS/#', '$share/g/#', '$share/g/a/+']) assert.equal(filterProblem(text), undefined)
  })

  test('a filter takes what the standard says', () => {
    fc.assert(
      fc.property(filter, topic, (pattern, text) => {
        assert.equal(matchesFilter(pattern, text), takes(pattern.split('/'), text.split('/')), `${pattern} ${text}`)
      }),
      { numRuns: 2_000 },
    )
    assert.equal(matchesFilter('#', '$SYS/x'), false)
    assert.equal(matchesFilter('+/x', '$SYS/x'), false)
    assert.equal(matchesFilter('$SYS/+', '$SYS/x'), true)
    assert.equal(matchesFilter('$share/group/a/+', 'a/b'), true)
  })

  test('one filter covers another, and two overlap, as their topics do', () => {
    fc.assert(
      fc.property(filter, filter, topic, (a, b, text) => {
        const both = matchesFilter(a, text) && matchesFilter(b, text)
        if (both) assert.ok(overlap(a, b), `${a} ${b} both take ${text}`)
        if (coversFilter(a, b) && matchesFilter(b, text)) assert.ok(matchesFilter(a, text), `${a} ${b} ${text}`)
      }),
      { numRuns: 5_000 },
    )
    assert.ok(coversFilter('a/#', 'a/+/b') && coversFilter('a/#', 'a') && coversFilter('+/b', 'a/b'))
    assert.ok(!coversFilter('a/+', 'a/#') && !coversFilter('a/b', 'a/+') && !coversFilter('#', '$SYS/x'))
    assert.ok(!overlap('a/+', 'b/#') && !overlap('#', '$SYS/#') && overlap('a/#', 'a'))
  })
})
