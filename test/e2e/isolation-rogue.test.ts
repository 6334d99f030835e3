import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Composition } from '../../src/app.ts'
import { openSqliteStore } from '../../src/store/sqlite.ts'
import type { Store } from '../../src/store/store.ts'
import { type IsolationInstance, isolationInstance } from '../helpers/isolation-instance.ts'
import { childrenOf, endAll, isRunning, until } from '../helpers/processes.ts'

/** What a worker in its own process does to the main one, to what it has started, and as it is ended at each moment. */

const module = new URL('../fixtures/isolation/rogue.ts', import.meta.url)
const MEBIBYTE = 1_048_576

const rogue = (own: object = {}, process: object = {}) =>
  isolationInstance({ rogue: { isolation: 'process', process, ...own } }, { module })

const pidOf = async (held: IsolationInstance) => Number((await held.health('rogue')).pid)

suite('RES-10: a worker that sends what it should not takes nothing with it', () => {
  for (const bytes of ['garbage', 'unreadable', 'announced', 'nothing', 'unknown', 'method', 'prototype']) {
    test(`on its channel: ${bytes}`, async () => {
      await using held = await rogue()
      const before = await held.call('rogue.act')
      assert.equal(before.status, 'completed', before.error ?? '')
      const pid = await pidOf(held)
      const { error_code, effect_certainty, error, status } = await held.call('rogue.act', { bytes, wait_ms: 3_000 })
      assert.equal(({} as { polluted?: unknown }).polluted, undefined)
      // A call that cannot be made is answered like any other that fails.
      if (bytes === 'prototype') {
        assert.equal(status, 'completed')
        return
      }
      assert.deepEqual([error_code, effect_certainty], ['MHV_WORKER_DIED', 'unknown'])
      assert.match(error ?? '', /it sent what cannot be read/)
      assert.ok(await until(() => !isRunning(pid)))
      assert.equal((await held.call('rogue.act')).status, 'completed')
    })
  }

  test('on standard output: nobody reads it', async () => {
    await using held = await rogue()
    assert.equal((await held.call('rogue.act', { how: 'stdout' })).status, 'completed')
  })

  test('without a channel it is ended, and its run says so', async () => {
    await using held = await rogue()
    const { error_code, effect_certainty } = await held.call('rogue.act', { how: 'close', wait_ms: 30_000 })
    assert.deepEqual([error_code, effect_certainty], ['MHV_WORKER_DIED', 'unknown'])
    assert.equal((await held.call('rogue.act')).status, 'completed')
  })

  test('one that ends by itself in the middle of a run, with exit code 0', async () => {
    await using held = await rogue()
    const { error_code, effect_certainty, error } = await held.call('rogue.act', { how: 'exit' })
    assert.deepEqual([error_code, effect_certainty], ['MHV_WORKER_DIED', 'unknown'])
    assert.match(error ?? '', /exit code 0/)
  })

  test('a result of 100 MB comes whole, and one that is too long is an error of its run alone', async () => {
    await using held = await rogue({}, { memory_limit_mb: 4_096 })
    const pid = await held.call('rogue.act').then(() => pidOf(held))
    const sent = await held.call('rogue.act', { ignored: 'x'.repeat(500_000) })
    assert.deepEqual(
      [sent.status, (sent.data as { value: number } | null)?.value],
      ['completed', 500_000],
      sent.error ?? '',
    )
    const back = await held.call('rogue.act', { how: 'answer', count: 100 })
    assert.equal(back.status, 'completed', back.error ?? '')
    const beyond = await held.call('rogue.act', { how: 'answer', count: 300 })
    assert.equal(beyond.error_code, 'MHV_INTERNAL')
    assert.match(beyond.error ?? '', /more than the 268435456/)
    assert.equal(await pidOf(held), pid)
  })

  test('a flood of output that does not wait fills its own memory, not that of the main process', async () => {
    const taking = Promise.withResolvers<void>()
    // Nothing of it is taken until we say so.
    const openStore: Composition['openStore'] = async (options) => {
      const store = await openSqliteStore(options)
      const appendOutput: Store['appendOutput'] = async (...chunks) => {
        await taking.promise
        return store.appendOutput(...chunks)
      }
      return { ...store, appendOutput }
    }
    const settings = {
      rogue: { isolation: 'process', process: { memory_limit_mb: 4_096 } },
      runs: { output_head_bytes: 1_024 * MEBIBYTE },
    }
    await using held = await isolationInstance(settings, { module, openStore })
    const flood = held.call('rogue.act', { how: 'flood', count: 600, wait_ms: 3_000 })
    let most = 0
    for (let look = 0; look < 600; look += 1) {
      await delay(10)
      most = Math.max(most, process.memoryUsage().arrayBuffers)
    }
    taking.resolve()
    const { status, error } = await flood
    assert.equal(status, 'completed', error ?? '')
    assert.ok(most > 32 * MEBIBYTE, `the flood has come: ${Math.round(most / MEBIBYTE)} MiB`)
    assert.ok(most < 300 * MEBIBYTE, `${Math.round(most / MEBIBYTE)} MiB`)
  })
})

suite('what the process of a worker has and leaves', () => {
  test('nothing of a secret is in its arguments or its environment', async () => {
    await using held = await rogue()
    const { data } = await held.call('rogue.act', { how: 'seen' })
    const text = JSON.stringify(data)
    assert.doesNotMatch(text, /hush|SECRET/)
    assert.match(text, /PATH=/)
  })

  test('a program that it starts inherits no channel', async () => {
    await using held = await rogue()
    const { data } = await held.call('rogue.act', { how: 'inherited' })
    assert.deepEqual((data as { value: unknown }).value, [])
  })

  for (const how of ['ended by us', 'killed'] as const) {
    test(`what it has started ends with it: ${how}`, async (t) => {
      await using held = await rogue({}, { heartbeat_seconds: 2 })
      const { data } = await held.call('rogue.act', { how: 'programs' })
      const pids = (data as { value: number[] }).value
      t.after(() => endAll(pids))
      const [inGroup = 0, apart = 0] = pids
      assert.ok(isRunning(inGroup) && isRunning(apart))
      process.kill(await pidOf(held), how === 'killed' ? 'SIGKILL' : 'SIGSTOP')
      assert.ok(await until(() => !isRunning(inGroup), 8_000), 'the program of its group')
      // Of a process that somebody else has ended nobody knows any more what it had started.
      if (how === 'ended by us')
        assert.ok(await until(() => !isRunning(apart), 8_000), 'the program of a group of its own')
    })
  }
})

suite('RES-10: ended or stopped at each moment', () => {
  for (const connect of ['never', 'busy'] as const) {
    test(`stopping while it starts takes no minute: ${connect}`, async () => {
      const held = await rogue({ connect })
      const before = new Set(childrenOf(process.pid))
      const acting = held.call('rogue.act', {}, { timeout: 50 })
      assert.ok(await until(() => childrenOf(process.pid).some((pid) => !before.has(pid))))
      await delay(1_000)
      const mine = childrenOf(process.pid).filter((pid) => !before.has(pid))
      const began = performance.now()
      await held[Symbol.asyncDispose]()
      assert.ok(performance.now() - began < 15_000, `${Math.round(performance.now() - began)} ms`)
      const { effect_certainty } = await acting
      assert.equal(effect_certainty, 'none')
      assert.deepEqual(mine.filter(isRunning), [])
    })
  }

  test('killed while it starts: it is started again by itself, and the call that waits is refused before it acts', async () => {
    await using held = await rogue()
    await held.call('rogue.act')
    const first = await pidOf(held)
    const others = new Set(childrenOf(process.pid))
    process.kill(first, 'SIGKILL')
    let second = 0
    assert.ok(
      await until(() => {
        second = childrenOf(process.pid).find((pid) => !others.has(pid)) ?? 0
        return second !== 0
      }),
    )
    process.kill(second, 'SIGKILL')
    assert.ok(await until(async () => ![0, first, second].includes((await pidOf(held)) || 0), 10_000), 'no third one')
    assert.equal((await held.call('rogue.act')).status, 'completed')
  })

  test('killed while it answers: unknown, and never a part of an answer', async () => {
    await using held = await rogue({}, { memory_limit_mb: 4_096, max_restarts: 50 })
    const ends = new Set<string>()
    for (const after of [0, 20, 40, 80, 160]) {
      await held.call('rogue.act')
      const pid = await pidOf(held)
      const acting = held.call('rogue.act', { how: 'answer', count: 60 })
      await delay(60 + after)
      process.kill(pid, 'SIGKILL')
      const { status, error_code, effect_certainty, data } = await acting
      ends.add(status)
      if (status === 'completed') assert.equal((data as { value: string }).value.length, 60 * MEBIBYTE)
      else assert.deepEqual([error_code, effect_certainty], ['MHV_WORKER_DIED', 'unknown'])
      assert.ok(await until(async () => ((await pidOf(held)) || pid) !== pid, 10_000))
    }
    assert.ok(ends.has('failed'))
  })

  test('stopped while it acts as the instance stops: it is ended, in time', async () => {
    const held = await rogue()
    await held.call('rogue.act')
    const pid = await pidOf(held)
    const acting = held.call('rogue.act', { wait_ms: 50_000 })
    await delay(200)
    process.kill(pid, 'SIGSTOP')
    const began = performance.now()
    await held[Symbol.asyncDispose]()
    assert.ok(performance.now() - began < 40_000, `${Math.round(performance.now() - began)} ms`)
    assert.equal((await acting).effect_certainty, 'unknown')
    assert.equal(isRunning(pid), false)
  })

  test('one that never closes does not hold up the stop', async () => {
    const held = await rogue({ slow_close: true })
    await held.call('rogue.act')
    const pid = await pidOf(held)
    const began = performance.now()
    await held[Symbol.asyncDispose]()
    assert.ok(performance.now() - began < 10_000)
    assert.equal(isRunning(pid), false)
  })
})
