import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { create, refused, sampleEnd, sampleEvent, sampleId, sampleRun } from '../testing/store-samples.ts'
import { openSqliteStore } from './sqlite.ts'
import type { Store } from './store.ts'

/** Two openings of one journal, as after a broken lock. */
async function withTwo(fenced: boolean, use: (first: Store, second: Store) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-fence-'))
  const path = join(folder, 'journal.db')
  const first = await openSqliteStore({ path }, { fenced })
  await create(first, sampleRun(1))
  const second = await openSqliteStore({ path })
  await use(first, second)
  await second.close()
  await first.close()
  await rm(folder, { recursive: true })
}

const END = {
  run_id: sampleId(1),
  from: ['running'],
  to: 'completed',
  end: sampleEnd('completed'),
  events: [],
} as const

test('RES-02 who opens the journal for writing fences whoever had it: nothing of theirs is written any more', () =>
  withTwo(true, async (first, second) => {
    assert.deepEqual([first.fence, second.fence], [1, 2])
    await assert.rejects(first.changeRun(END), {
      code: 'MHV_INSTANCE_FENCED',
      message: /opened for writing by another process since \(fence 2, ours is 1\)/,
    })
    const writes = [
      first.createRun(sampleRun(2)),
      first.adoptRun({ run_id: sampleId(1), from_fence: 1, events: [] }),
      first.appendEvents(sampleId(1), [sampleEvent('progress')]),
      first.stateSet('w', 'k', 1),
      first.deleteDeadLetters({}, 1),
      first.outboxDone('x'),
      first.assertOwner(),
      first.check(),
    ]
    for (const write of writes) await refused(write, 'MHV_INSTANCE_FENCED')
    // What it had begun can still be read there, and is the other's to end.
    assert.equal((await first.getRun(sampleId(1)))?.status, 'running')
    assert.equal((await second.changeRun(END))?.status, 'completed')
    assert.equal((await second.getEvents(sampleId(1), 0, 9)).length, 1)
    await second.assertOwner()
  }))

test('without the look at the fence both would write: the control', () =>
  withTwo(false, async (first, second) => {
    await first.assertOwner()
    assert.equal((await first.changeRun(END))?.status, 'completed')
    assert.equal((await second.getRun(sampleId(1)))?.status, 'completed')
  }))
