import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { fakePool, settled } from '../../../../test/helpers/ssh-fake-pool.ts'
import { mhvError } from '../../../core/errors.ts'
import { sshTarget } from '../settings.ts'

/** What may happen to a pool, in any order; the numbers choose among what there is. */
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('call'), host: fc.nat(3), user: fc.nat(1) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('finish'), which: fc.nat(50) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('lose'), which: fc.nat(50) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('abort'), which: fc.nat(50) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('drain'), host: fc.nat(3) }) },
)

const settings = fc.record({
  max_connections: fc.integer({ min: 1, max: 5 }),
  max_connections_per_host: fc.integer({ min: 1, max: 3 }),
  max_channels_per_connection: fc.integer({ min: 1, max: 4 }),
  pool_backpressure: fc.constantFrom('wait' as const, 'reject_new' as const),
})

test('SSH-05: whatever happens in whatever order, the caps hold, nobody is forgotten, and every place comes back', async () => {
  await fc.assert(
    fc.asyncProperty(
      settings,
      fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
      fc.array(step, { maxLength: 60 }),
      async (caps, maxSessions, steps) => {
        const { worker, made, run, channels } = await fakePool(caps, {
          ...(maxSessions === undefined ? {} : { maxSessions }),
        })
        const calls: { readonly controller: AbortController; outcome: string }[] = []
        const alive = () => made.filter((connection) => connection.alive())
        const check = () => {
          assert.ok(alive().length <= caps.max_connections, `${alive().length} connections`)
          for (const connection of alive()) {
            const same = alive().filter((other) => other.to === connection.to).length
            assert.ok(same <= caps.max_connections_per_host, `${same} connections to ${connection.to}`)
            assert.ok(connection.open.length <= caps.max_channels_per_connection, `${connection.open.length} channels`)
          }
        }
        for (const [number, each] of steps.entries()) {
          if (each.kind === 'call') {
            const call = { controller: new AbortController(), outcome: 'waiting' }
            calls.push(call)
            const target = sshTarget.parse({ host: `host${each.host}`, user: `user${each.user}` })
            run(`${number}`, { target, signal: call.controller.signal }).then(
              () => {
                call.outcome = 'served'
              },
              (error) => {
                call.outcome = error.code
              },
            )
          } else if (each.kind === 'drain') {
            const { signal } = new AbortController()
            void worker.pool.drain({ host: `host${each.host}`, waitMs: 0, force: false, signal })
          } else if (each.kind === 'abort') {
            calls[each.which % Math.max(1, calls.length)]?.controller.abort(mhvError('MHV_RUN_CANCELLED', 'enough'))
          } else if (each.kind === 'lose') {
            alive()[each.which % Math.max(1, alive().length)]?.lose()
          } else {
            channels()[each.which % Math.max(1, channels().length)]?.finish()
          }
          for (let turns = 0; turns < 3; turns++) {
            await new Promise(setImmediate)
            check()
          }
        }
        // Everything that runs ends, again and again: whoever waits has to get a turn.
        const until = Date.now() + 15_000
        while (calls.some(({ outcome }) => outcome === 'waiting') && Date.now() < until) {
          for (const channel of channels()) channel.finish()
          await settled()
          check()
        }
        for (const channel of channels()) channel.finish()
        await settled()
        const told = JSON.stringify(calls.map(({ outcome }) => outcome))
        assert.ok(!told.includes('waiting'), told)
        const allowed = [
          'served',
          'MHV_RUN_CANCELLED_QUEUED',
          'MHV_SSH_CONNECT_FAILED',
          ...(caps.pool_backpressure === 'wait' ? [] : ['MHV_SSH_POOL_EXHAUSTED']),
        ]
        for (const { outcome } of calls) assert.ok(allowed.includes(outcome), told)
        const { channels: left, waiting } = worker.pool.stats()
        assert.deepEqual([left, waiting], [0, 0])
        await worker.close()
      },
    ),
    { seed: 5, numRuns: 60, endOnFailure: true },
  )
})
