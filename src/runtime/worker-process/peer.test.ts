import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { mhvError } from '../../core/errors.ts'
import type { Message } from './messages.ts'
import { createPeer, type Methods, type Peer } from './peer.ts'

/** Two ends of a channel that clones what it carries and keeps the order, as that between two processes does. */
function linked<L extends Methods, R extends Methods>(left: L, right: R) {
  const carried: Message[] = []
  const deliver = (to: () => Peer<never>) => (message: Message) => {
    const copy = structuredClone(message)
    carried.push(copy)
    setImmediate(() => to().receive(copy))
  }
  const here: Peer<R> = createPeer<R>(
    left,
    deliver(() => there as never),
  )
  const there: Peer<L> = createPeer<L>(
    right,
    deliver(() => here as never),
  )
  return { here, there, carried }
}

suite('calls between two processes', () => {
  test('arguments and answers come through as they are', async () => {
    const { here } = linked({}, { echo: async (...args: unknown[]) => args })
    const value = {
      a: [1, null, undefined, 'ü'],
      bytes: new Uint8Array([0, 255]),
      when: new Date(5),
      map: new Map([[1, 2]]),
    }
    assert.deepEqual(await here.call('echo', value, undefined, -0), [value, undefined, -0])
  })

  test('an error of the table keeps everything; a defect its message and where it was thrown', async () => {
    const known = mhvError('MHV_EXEC_FAILED', 'no', { details: { a: 1 }, remedy: 'Do so.', retryAfter: 3 })
    const { here } = linked(
      {},
      {
        known: async () => {
          throw known
        },
        defect: () => {
          throw new TypeError('a defect')
        },
        bare: async () => {
          throw Object.create(null)
        },
      },
    )
    const error = await here.call('known').catch((thrown: unknown) => thrown as typeof known)
    assert.deepEqual(error.toWire(), known.toWire())
    const defect = await here.call('defect').catch((thrown: unknown) => thrown as Error)
    assert.equal((defect as Error).message, 'a defect')
    assert.match((defect as Error).stack ?? '', /peer\.test/)
    await assert.rejects(here.call('bare'), { message: 'something was thrown that has no text' })
  })

  test('details that cannot be cloned do not hide the error', async () => {
    const { here } = linked(
      {},
      {
        odd: async () => {
          throw mhvError('MHV_EXEC_FAILED', 'it failed', { details: { act: () => 1 } })
        },
      },
    )
    await assert.rejects(here.call('odd'), { message: 'it failed' })
  })

  test('what cannot be cloned rejects its call, and the channel goes on', async () => {
    const { here } = linked({}, { echo: async (value: unknown) => value })
    await assert.rejects(here.call('echo', Symbol('x')), { name: 'DataCloneError' })
    assert.equal(await here.call('echo', 1), 1)
  })

  test('functions stay where they are and are called from afar, also those that an answer has', async () => {
    class Session {
      readonly name = 'pty'
      sum = 0
      async add(by: number) {
        this.sum += by
        return this.sum
      }
    }
    const session = new Session()
    const { here } = linked(
      {},
      {
        async open(events: { data(text: string): Promise<string> }) {
          return { session, said: await events.data('hello') }
        },
      },
    )
    const heard: string[] = []
    const opened = await here.call('open', {
      async data(text: string) {
        heard.push(text)
        return `${text}!`
      },
    })
    assert.deepEqual([heard, opened.said, opened.session.name], [['hello'], 'hello!', 'pty'])
    assert.equal(await opened.session.add(2), 2)
    assert.equal(await opened.session.add(3), 5)
    assert.equal(session.sum, 5)
  })

  test('a signal is aborted over there with its reason; one that is aborted already, too', async () => {
    const { here } = linked(
      {},
      {
        wait: (signal: AbortSignal) =>
          new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true })),
      },
    )
    const controller = new AbortController()
    const waiting = here.call('wait', controller.signal)
    setImmediate(() => controller.abort(mhvError('MHV_RUN_TIMEOUT', 'late')))
    await assert.rejects(waiting, { code: 'MHV_RUN_TIMEOUT', message: 'late' })
    const gone = AbortSignal.abort(mhvError('MHV_RUN_CANCELLED', 'gone'))
    await assert.rejects(here.call('wait', gone), { code: 'MHV_RUN_CANCELLED' })
  })

  test('a signal is watched no longer than its call lasts', async () => {
    const { here, carried } = linked({}, { echo: async (_: AbortSignal) => 1 })
    const controller = new AbortController()
    await here.call('echo', controller.signal)
    controller.abort()
    assert.deepEqual(
      carried.filter(({ kind }) => kind === 'abort'),
      [],
    )
  })

  test('methods are called in the order of the calls, before anything else happens', async () => {
    const seen: number[] = []
    const { here } = linked(
      {},
      {
        async put(value: number) {
          seen.push(value)
        },
        read: async () => [...seen],
      },
    )
    for (let value = 0; value < 100; value++) void here.call('put', value)
    assert.deepEqual(
      await here.call('read'),
      Array.from({ length: 100 }, (_, value) => value),
    )
  })

  test('when the other side is gone every call is rejected with why, and so are later ones', async () => {
    const { here } = linked({}, { never: () => new Promise<never>(() => undefined) })
    const waiting = here.call('never')
    here.end(mhvError('MHV_WORKER_DIED', 'gone'))
    await assert.rejects(waiting, { code: 'MHV_WORKER_DIED' })
    await assert.rejects(here.call('never'), { code: 'MHV_WORKER_DIED' })
  })

  test('there is nothing to call but the methods', async () => {
    const { here } = linked({}, {} as { constructor(): void; toString(): string })
    await assert.rejects(here.call('toString'), /no method toString/)
  })
})
