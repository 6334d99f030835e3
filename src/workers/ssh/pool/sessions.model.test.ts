import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { fakePool, type SessionGate, settled } from '../../../../test/helpers/ssh-fake-pool.ts'
import { mhvError } from '../../../core/errors.ts'
import { createFakeClock } from '../../../testing/fake-clock.ts'
import { REAP_MS } from './connection-sessions.ts'

/** An sshd that allows `maxSessions` on a connection and is done with a session only some time after its end. */
function simulatedSshd(maxSessions: number, latency: number, lateness: () => number) {
  const clock = createFakeClock(0)
  const counts: { now: number; readonly asked: number[] }[] = []
  const seen = { refused: 0, accepted: 0, most: 0 }

  function gate(): SessionGate {
    const count = { now: 0, asked: [] as number[] }
    counts.push(count)
    return {
      async admit() {
        await clock.sleep(latency)
        const full = count.now >= maxSessions
        if (!full) count.now += 1
        seen[full ? 'refused' : 'accepted'] += 1
        seen.most = Math.max(seen.most, count.now)
        await clock.sleep(latency)
        if (full) throw mhvError('MHV_SSH_CHANNEL_REFUSED', 'no more sessions')
        return () => {
          clock.after(lateness(), () => {
            count.now -= 1
          })
        }
      },
    }
  }
  return { clock, gate, counts, seen }
}

const STEP_MS = 5

const conditions = {
  maxSessions: fc.integer({ min: 1, max: 6 }),
  latency: fc.integer({ min: 0, max: 5 }),
  channels: fc.integer({ min: 1, max: 8 }),
  calls: fc.array(
    fc.record({
      at: fc.oneof(fc.nat(30), fc.nat(4_000)),
      ms: fc.oneof(fc.nat(400), fc.integer({ min: 1_500, max: 6_000 })),
    }),
    {
      minLength: 1,
      maxLength: 40,
    },
  ),
  lateness: fc.array(fc.oneof(fc.nat(20), fc.nat(REAP_MS - 12)), { minLength: 1, maxLength: 20 }),
}

test('SSH-05: with an sshd that frees its sessions late, none is lost, nothing wrong is learnt, and no place stays empty', async () => {
  await fc.assert(
    fc.asyncProperty(fc.record(conditions), async ({ maxSessions, latency, channels, calls, lateness }) => {
      let ends = 0
      const late = () => lateness[ends++ % lateness.length] as number
      const { clock, gate, counts, seen } = simulatedSshd(maxSessions, latency, late)
      const settings = { max_connections_per_host: 1, max_channels_per_connection: channels }
      const { worker, run } = await fakePool(settings, { clock, gate })
      let finished = 0
      for (const { at, ms } of calls) {
        clock.after(at, async () => {
          const channel = await run('x')
          await clock.sleep(ms)
          channel.finish()
          finished += 1
        })
      }
      let emptySince: number | undefined
      while (finished < calls.length) {
        assert.ok(clock.monotonic() < 400_000, `${finished} of ${calls.length} in time`)
        await settled()
        await clock.advance(STEP_MS)
        const [host] = worker.pool.status()
        const learnt = host?.max_sessions ?? Number.POSITIVE_INFINITY
        assert.ok(learnt >= maxSessions, `learnt ${learnt} where ${maxSessions} are allowed`)
        const isEmpty =
          host !== undefined &&
          host.waiting > 0 &&
          host.channels < Math.min(channels, maxSessions) &&
          (counts[0]?.now ?? maxSessions) < maxSessions
        emptySince = isEmpty ? (emptySince ?? clock.monotonic()) : undefined
        const empty = emptySince === undefined ? 0 : clock.monotonic() - emptySince
        assert.ok(empty <= 1_100, `a free place was not used for ${empty} ms`)
      }
      const { refused, accepted } = seen
      // Those that were sent together; those after each end; and while nothing succeeds, four in a second.
      const bound = channels + 9 * accepted + (4 * clock.monotonic()) / 1_000
      assert.ok(refused <= bound, `${refused} refusals of ${accepted} sessions in ${clock.monotonic()} ms`)
      await settled()
      assert.equal(counts.length, 1, 'the connection that was only late was not replaced')
      assert.equal(worker.pool.stats().channels, 0)
      await worker.close()
    }),
    { seed: 7, numRuns: 40, endOnFailure: true },
  )
})

test('what was learnt wrongly of an sshd that was very late is unlearnt when it is not any more', async () => {
  const LATE_UNTIL = 8_000
  const WITHIN = 15_000
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 2, max: 6 }),
      fc.array(fc.integer({ min: 0, max: 4_000 }), { minLength: 1, maxLength: 20 }),
      fc.array(fc.integer({ min: 20, max: 1_500 }), { minLength: 1, maxLength: 20 }),
      async (maxSessions, lateness, durations) => {
        let ends = 0
        const late = () => (clock.monotonic() < LATE_UNTIL ? (lateness[ends++ % lateness.length] as number) : 1)
        const { clock, gate, counts, seen } = simulatedSshd(maxSessions, 1, late)
        const { worker, run } = await fakePool({ max_connections_per_host: 1 }, { clock, gate })
        let stopped = false
        let turn = 0
        const client = async () => {
          while (!stopped) {
            // With none of ours there for a second, its refusal is believed.
            const channel = await run('x').catch(({ code }) => assert.equal(code, 'MHV_SSH_CHANNEL_REFUSED'))
            if (channel === undefined) continue
            await clock.sleep(durations[turn++ % durations.length] as number)
            channel.finish()
          }
        }
        const clients = Array.from({ length: maxSessions + 3 }, client)
        const pass = async (until: () => boolean, ms: number) => {
          const end = clock.monotonic() + ms
          while (!until() && clock.monotonic() < end) await clock.advance(STEP_MS)
        }
        for (let n = 0; n < 20; n++) {
          await settled()
          await clock.advance(1)
        }
        await pass(() => false, LATE_UNTIL + 4_000)
        seen.most = counts[0]?.now ?? 0
        await pass(() => seen.most === maxSessions, WITHIN)
        assert.equal(seen.most, maxSessions, `learnt ${worker.pool.status()[0]?.max_sessions}`)
        stopped = true
        await pass(() => Number(worker.pool.stats().channels) + Number(worker.pool.stats().waiting) === 0, 60_000)
        await Promise.all(clients)
        await worker.close()
      },
    ),
    { seed: 11, numRuns: 20, endOnFailure: true },
  )
})
