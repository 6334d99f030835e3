import assert from 'node:assert/strict'
import { after, before, suite, test } from 'node:test'
import fc from 'fast-check'
import { ANY_END, assertEnded, type HostileClient, inGroups, startHostileClient } from '../helpers/hostile-client.ts'
import { badWire, hostileSsh } from '../helpers/hostile-ssh.ts'

/** SSH-11: a wire that breaks at any stage of a session ends a command as one that has a code, in time. */

let client: HostileClient
before(async () => {
  client = await startHostileClient()
})
after(() => client?.stop())

suite('SSH-11: a real server behind a bad wire', { concurrency: true }, () => {
  /** Where the bytes of a whole session of the server lie; enough to be in each stage of it. */
  const OFFSETS = fc.sample(fc.integer({ min: 0, max: 3_200 }), { seed: 1107, numRuns: 40 })

  test('that is cut at every stage, by an end or by a reset', async () => {
    await inGroups(OFFSETS, 20, async (cut, place) => {
      const wire = await badWire(await hostileSsh({}), (bytes, offset, client) => {
        if (offset + bytes.length <= cut) return bytes
        client.write(bytes.subarray(0, Math.max(0, cut - offset)))
        if (place % 2 === 0) client.end()
        else client.resetAndDestroy()
        return undefined
      })
      assertEnded(`cut at ${cut}`, await client.meet(wire), ANY_END)
    })
  })

  test('that changes a byte', async () => {
    await inGroups(OFFSETS, 20, async (at, place) => {
      const wire = await badWire(await hostileSsh({}), (bytes, offset) => {
        if (at < offset || at >= offset + bytes.length) return bytes
        const changed = Buffer.from(bytes)
        changed[at - offset] = (changed[at - offset] as number) ^ (1 << (place % 8))
        return changed
      })
      assertEnded(`a changed byte at ${at}`, await client.meet(wire), ANY_END)
    })
  })

  test('that falls silent', async () => {
    await inGroups(OFFSETS.slice(0, 20), 20, async (at) => {
      const wire = await badWire(await hostileSsh({}), (bytes, offset) =>
        offset + bytes.length <= at ? bytes : undefined,
      )
      assertEnded(`silent from ${at}`, await client.meet(wire), ANY_END)
    })
  })
})

test('SSH-11: after all of it an honest server is served as ever', async () => {
  const outcome = await client.meet(await hostileSsh({}))
  assert.deepEqual([outcome.code, outcome.message], ['completed', '5 bytes'])
})
