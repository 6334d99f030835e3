import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { createBrokerChoice } from './broker-choice.ts'

const choiceOf = (brokers: number, threshold = 3) =>
  createBrokerChoice({ brokers, threshold, base_ms: 100, cap_ms: 1_000 })

suite('choice of the broker', () => {
  test('the next one is due after as many failures in a row as the threshold says', () => {
    const choice = choiceOf(2)
    const seen = Array.from({ length: 8 }, () => {
      const before = choice.current()
      return [before, choice.failed(false)] as const
    })
    assert.deepEqual(
      seen.map(([index]) => index),
      [0, 0, 0, 1, 1, 1, 0, 0],
    )
    assert.deepEqual(
      seen.map(([, { switched }]) => switched),
      [false, false, true, false, false, true, false, false],
    )
    assert.deepEqual(seen.map(([, { exhausted }]) => exhausted).indexOf(true), 5)
  })

  test('a success in between begins the count anew', () => {
    const choice = choiceOf(2)
    choice.failed(false)
    choice.failed(false)
    choice.succeeded(0, true)
    choice.failed(false)
    choice.failed(false)
    assert.equal(choice.current(), 0)
    choice.failed(false)
    assert.equal(choice.current(), 1)
  })

  test('a refusal needs no threshold; only where all refuse, all have refused', () => {
    const choice = choiceOf(2)
    assert.deepEqual(choice.failed(true), { switched: true, exhausted: false, all_refused: false })
    assert.deepEqual(choice.failed(true), { switched: true, exhausted: true, all_refused: true })
    choice.failed(true)
    for (let n = 0; n < 2; n++) choice.failed(false)
    assert.deepEqual(choice.failed(false), { switched: true, exhausted: true, all_refused: false })
  })

  test('alone in its list, each failure is an answer for those who wait', () => {
    const choice = choiceOf(1)
    assert.deepEqual(choice.failed(false), { switched: false, exhausted: true, all_refused: false })
    assert.equal(choice.current(), 0)
    assert.equal(choice.failed(true).all_refused, true)
  })

  test('waits have full jitter under a ceiling that doubles, up to its cap', () => {
    const choice = choiceOf(1)
    const ceilings = [0, 1, 2, 3, 4, 5].map(() => {
      choice.failed(false)
      return choice.wait(() => 1)
    })
    assert.deepEqual(ceilings, [200, 400, 800, 1_000, 1_000, 1_000])
    assert.equal(
      choice.wait(() => 0),
      0,
    )
    // A link that has not lasted long is no reason to hurry: a broker that cuts every one would be asked without end.
    choice.succeeded(0, false)
    assert.equal(
      choice.wait(() => 1),
      1_000,
    )
    choice.succeeded(0, true)
    assert.equal(
      choice.wait(() => 1),
      100,
    )
  })
})
