/** Admission: what it costs per run and per queued run, and what a crowd of callers does to those who get in. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Area, type BenchOptions, interleavingOf } from './harness/area.ts'
import { withFolder } from './harness/folder.ts'
import { makeInstanceFolder } from './harness/instance-folder.ts'
import { interleave } from './harness/interleave.ts'
import { type Row, toRow } from './harness/row.ts'
import { type Side, startSide } from './harness/side.ts'
import { median, rounded } from './harness/stats.ts'
import type { AdmissionSide, Storm } from './sides/admission.ts'

const QUEUED = 10_000
const SLOTS = 50
const CLIENTS = 1_000
const SIDE = new URL('./sides/admission.ts', import.meta.url)

/** An instance folder with that room for runs of the probe at every level. */
function probeFolder(folder: string, queueSize: number, pauseMs: number): string {
  mkdirSync(folder, { recursive: true })
  const room = { max_concurrent: SLOTS, queue_size: queueSize }
  makeInstanceFolder(folder, {
    settings: {
      admission: { ...room, target: room, principal: room },
      probe: { admission: room, pause_ms: pauseMs },
    },
    target: { probe: {} },
  })
  return folder
}

async function bookkeeping(options: BenchOptions): Promise<Row> {
  const side = await startSide<AdmissionSide>(SIDE, options)
  const count = options.quick ? 5_000 : 20_000
  try {
    const values = await interleave(
      {
        ours: () => side.call('bookkeeping', { queued: QUEUED, count }),
        peer: () => side.call('bookkeeping', { queued: 0, count }),
      },
      interleavingOf(options, 'bookkeeping', 3),
    )
    return toRow(
      {
        name: `admission.bookkeeping.${QUEUED}`,
        title: 'time per run of admission, breaker and retry budget while 10,000 others wait, beside an empty queue',
        unit: 'µs',
        better: 'lower',
        ours: values.ours.map(median),
        peer: { name: 'the same without a queue', version: `Node ${process.version}`, values: values.peer.map(median) },
        goal: { of: 'ours', is: '<=', limit: 20 },
        settings: { queued: QUEUED, slots: SLOTS, targets: 1_000, principals: 10, priorities: 3, runs_per_turn: count },
      },
      options,
    )
  } finally {
    await side.end()
  }
}

async function memory(options: BenchOptions, folder: string): Promise<Row> {
  let instances = 0
  const values = await interleave(
    {
      // A process of its own for each value: nothing is left of the round before.
      async ours() {
        instances += 1
        const side = await startSide<AdmissionSide>(SIDE, options)
        await side.call('open', { folder: probeFolder(join(folder, `memory-${instances}`), 100_000, 3_600_000) })
        const bytes = await side.call('memory', { already: 2_000, queued: QUEUED })
        await side.end()
        return bytes
      },
    },
    { ...interleavingOf(options, 'memory', 1), warmUp: 0 },
  )
  return toRow(
    {
      name: `admission.memory.${QUEUED}`,
      title: 'heap that each of 10,000 queued runs holds on the whole path, its handle given out',
      unit: 'bytes',
      better: 'lower',
      ours: values.ours.flat(),
      goal: { of: 'ours', is: '<=', limit: 2_048 },
      settings: { queued: QUEUED, slots: SLOTS, operation: 'probe.touch', wait: 0 },
    },
    options,
  )
}

async function crowd(options: BenchOptions, folder: string): Promise<readonly Row[]> {
  const side: Side<AdmissionSide> = await startSide<AdmissionSide>(SIDE, options)
  const seconds = options.quick ? 2 : 5
  try {
    await side.call('open', { folder: probeFolder(join(folder, 'crowd'), 2 * SLOTS, 0) })
    const values = await interleave<'ours' | 'peer', Storm>(
      {
        ours: () => side.call('storm', { clients: CLIENTS, seconds }),
        peer: () => side.call('storm', { clients: SLOTS, seconds }),
      },
      interleavingOf(options, `${CLIENTS} clients`, 1),
    )
    const rate = (rounds: readonly (readonly Storm[])[]) =>
      rounds.map((turns) => median(turns.map((turn) => turn.perSecond)))
    const rejected = values.ours.flat().map((turn) => turn.rejected)
    if (rejected.some((count) => count === 0)) throw new Error('nobody was rejected: there was no crowd')
    const settings = {
      clients: CLIENTS,
      slots: SLOTS,
      queue_size: 2 * SLOTS,
      seconds_per_turn: seconds,
      operation: 'probe.touch',
      rejected_per_turn: rounded(median(rejected)),
    }
    return [
      toRow(
        {
          name: `admission.crowd.rate.${CLIENTS}`,
          title:
            'runs per second of 1,000 clients on 50 slots, who stay away as long as they are told, beside 50 clients',
          unit: 'runs/s',
          better: 'higher',
          ours: rate(values.ours),
          peer: { name: '50 clients', version: `Node ${process.version}`, values: rate(values.peer) },
          goal: { of: 'ratio', is: '>=', limit: 0.9 },
          settings,
        },
        options,
      ),
      toRow(
        {
          name: `admission.crowd.rejection.p95.${CLIENTS}`,
          title: 'time until a call is refused for lack of room (p95), from call to answer',
          unit: 'ms',
          better: 'lower',
          ours: values.ours.map((turns) => median(turns.map((turn) => turn.rejectionP95))),
          goal: { of: 'ours', is: '<', limit: 5 },
          settings,
        },
        options,
      ),
    ]
  } finally {
    await side.end()
  }
}

export const admission: Area = {
  name: 'admission',
  summary: 'time and memory of a run in the queue, and 1,000 clients against 50 slots',
  missing: () => undefined,
  run: (options) =>
    withFolder('admission', async (folder) => [
      await bookkeeping(options),
      await memory(options, folder),
      ...(await crowd(options, folder)),
    ]),
}
