import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { mhvError } from '../../core/errors.ts'
import { createChildWorker } from './child-worker.ts'
import type { ActRequest, ParentMethods } from './protocol.ts'

const MODULE = new URL('../../../test/fixtures/isolation/workers.ts', import.meta.url).href

type Answers = Partial<Record<keyof ParentMethods, (...args: never[]) => unknown>>

/** A worker as its process has it, whose main process answers what a test says. */
async function connected(answers: Answers, worker = 'probe') {
  const child = createChildWorker({
    call: async (method: keyof ParentMethods, ...args: unknown[]) => answers[method]?.(...(args as never[])),
    tell: (method: keyof ParentMethods, ...args: unknown[]) => void answers[method]?.(...(args as never[])),
  } as never)
  await child.connect({ module: MODULE, worker, worker_id: 'w', settings: { pause_ms: 0 }, folder: '/nowhere' })
  return child
}

function request(operation: string, input: object, act: ActRequest['act'] = 'run'): ActRequest {
  const facts = {
    run_id: 'R',
    attempt: 1,
    principal: {},
    effect: 'write',
    target: {},
    settings: { pause_ms: 0 },
    bandwidth_limit: 0,
  }
  return { handle: 7, operation, act, input, facts: { ...facts, deadline: Date.now() + 60_000 } as never }
}

const never = new AbortController().signal
const piece = 'x'.repeat(100_000)
const emit = { pieces: [piece, piece, piece, piece, piece], wait_ms: 0, deaf: false }
const collected = { text: '', bytes: 0, dropped_bytes: 0, utf8: true }

suite('a worker in its process', () => {
  test('output is held back while the main process does not take it', async () => {
    const held: (() => void)[] = []
    const child = await connected({
      write: () => new Promise<void>((taken) => held.push(taken)),
      collect: () => collected,
    })
    const acting = child.act(request('probe.emit', emit), never)
    await delay(20)
    // The third piece is the first beyond the window of 256 KiB.
    assert.equal(held.length, 3)
    held[0]?.()
    await delay(20)
    assert.equal(held.length, 4)
    for (let next = 1; next < 5; next++) {
      held[next]?.()
      await delay(5)
    }
    assert.deepEqual(await acting, { text: '', bytes: 0, dropped_bytes: 0 })
  })

  test('output that cannot be kept ends the operation with that error', async () => {
    const child = await connected({
      write: async () => {
        throw mhvError('MHV_JOURNAL_FULL', 'no room')
      },
      collect: () => collected,
    })
    await assert.rejects(child.act(request('probe.emit', emit), never), { code: 'MHV_JOURNAL_FULL' })
  })

  test('output and progress go by the handle of the attempt', async () => {
    const seen: unknown[] = []
    const child = await connected({
      write: async (...args: unknown[]) => void seen.push(args.slice(0, 2)),
      collect: (...args: unknown[]) => {
        seen.push(args)
        return collected
      },
      progress: (...args: unknown[]) => void seen.push(args),
    })
    await child.act(request('probe.emit', { ...emit, pieces: ['a'] }), never)
    assert.deepEqual(seen, [
      [7, 'stdout'],
      [7, { progress: 1, message: 'written' }],
      [7, 'stdout'],
    ])
  })

  test('an act that the operation has not is no act', async () => {
    const child = await connected({})
    await assert.rejects(child.act(request('probe.look', {}, 'compensate'), never), {
      code: 'MHV_INTERNAL',
      message: /probe\.look has no compensate/,
    })
  })

  test('a worker that the module does not have is a defect with its name', async () => {
    await assert.rejects(connected({}, 'nobody'), { code: 'MHV_INTERNAL', message: /has no worker nobody/ })
  })
})
