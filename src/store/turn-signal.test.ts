import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createPatience, createTurnSignal, signalTurn } from './turn-signal.ts'

function setUp() {
  const signal = createTurnSignal()
  return { announce: signalTurn(signal), patience: createPatience(signal) }
}

test('takes what is there without waiting', () => {
  const { announce, patience } = setUp()
  announce(true)
  assert.equal(
    patience.take(() => 'message'),
    'message',
  )
})

test('does not wait where nothing is announced', () => {
  const { announce, patience } = setUp()
  let asked = 0
  const nothing = () => {
    asked += 1
    return undefined
  }
  assert.equal(patience.take(nothing), undefined)
  announce(true)
  announce(false)
  assert.equal(patience.take(nothing), undefined)
  assert.equal(asked, 2)
})

test('takes what comes while it waits', () => {
  const { announce, patience } = setUp()
  announce(true)
  let asked = 0
  const second = () => {
    asked += 1
    // As the client's thread would, between the look and the wait.
    announce(true)
    return asked === 1 ? undefined : 'message'
  }
  assert.equal(patience.take(second), 'message')
})

test('gives up after a while, and at once when it has given up before in the same transaction', () => {
  const { announce, patience } = setUp()
  announce(true)
  let asked = 0
  const nothing = () => {
    asked += 1
    return undefined
  }
  assert.equal(patience.take(nothing), undefined)
  assert.ok(asked > 1)
  asked = 0
  assert.equal(patience.take(nothing), undefined)
  assert.equal(asked, 1)
  patience.begin()
  assert.equal(patience.take(nothing), undefined)
  assert.ok(asked > 2)
})
