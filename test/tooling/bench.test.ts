import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { AREAS } from '../../benchmarks/areas.ts'
import { processorTime } from '../../benchmarks/harness/http-server.ts'
import { interleave, orderOf, ratePerSecond } from '../../benchmarks/harness/interleave.ts'
import { closedLoop } from '../../benchmarks/harness/load.ts'
import { fileSystemOf } from '../../benchmarks/harness/machine.ts'
import { procMissing } from '../../benchmarks/harness/process.ts'
import { type Goal, goalText, meets, type Row, toRow } from '../../benchmarks/harness/row.ts'
import { median, quantile, rounded, spreadOf } from '../../benchmarks/harness/stats.ts'
import { tableOf } from '../../benchmarks/harness/table.ts'
import { scriptTable } from '../../scripts/script-table.ts'

const ratioGoal: Goal = { of: 'ratio', is: '>=', limit: 0.8 }

function rowOf(ours: readonly number[], peer: readonly number[], goal: Goal = ratioGoal, quick = false): Row {
  const spec = { name: 'a.b', title: 'a thing', unit: 'x/s', better: 'higher', settings: { writers: 16 } } as const
  return toRow({ ...spec, ours, peer: { name: 'bare', version: '1.2', values: peer }, goal }, { quick })
}

describe('statistics of the benchmarks', () => {
  test('a quantile lies between the nearest two values, whatever their order', () => {
    assert.equal(median([3, 1, 2]), 2)
    assert.equal(median([4, 1, 3, 2]), 2.5)
    assert.equal(quantile([10, 20, 30, 40, 50], 0.25), 20)
    assert.equal(quantile([0, 10], 0.99), 9.9)
    assert.equal(quantile([7], 0.99), 7)
    assert.ok(Number.isNaN(median([])))
  })

  test('the spread is not moved by one wild round', () => {
    assert.deepEqual(spreadOf([1, 2, 3, 4, 1000]), { min: 1, q1: 2, median: 3, q3: 4, max: 1000, mad: 1 })
  })

  test('numbers are told with four digits', () => {
    assert.equal(rounded(12345.678), 12350)
    assert.equal(rounded(0.00123456), 0.001235)
  })
})

describe('interleaving', () => {
  test('no side is always first, and warm-up rounds leave nothing behind', async () => {
    const order: string[] = []
    const side = (name: string) => async () => {
      order.push(name)
      return order.length
    }
    const sides = { ours: side('o'), peer: side('p') }
    const values = await interleave(sides, { rounds: 2, turns: 2, warmUp: 1 })
    assert.equal(order.join(''), 'oppoOppoOppo'.toLowerCase())
    assert.deepEqual(values, {
      ours: [
        [5, 8],
        [9, 12],
      ],
      peer: [
        [6, 7],
        [10, 11],
      ],
    })
    assert.deepEqual(orderOf(['a', 'b', 'c'], 1), ['c', 'b', 'a'])
  })

  test('a rate is that of all turns of a round together', () => {
    assert.deepEqual(ratePerSecond([[1, 3]], 100), [50])
  })

  test('a closed loop keeps that many calls going and makes each once', async () => {
    const seen: number[] = []
    let active = 0
    let most = 0
    const result = await closedLoop({ count: 20, concurrency: 4 }, async (index) => {
      seen.push(index)
      active += 1
      most = Math.max(most, active)
      await new Promise((resolve) => setTimeout(resolve, 1))
      active -= 1
    })
    assert.deepEqual(seen, [...Array(20).keys()])
    assert.equal(most, 4)
    assert.ok(result.p50 > 0 && result.p95 >= result.p50 && result.seconds > 0)
    await assert.rejects(
      closedLoop({ count: 1, concurrency: 1 }, () => Promise.reject(new Error('no'))),
      /no/,
    )
  })
})

describe('rows', () => {
  test('a goal is met or missed by the medians, and the rounds that met it are counted', () => {
    const row = rowOf([80, 90, 70], [100, 100, 100])
    assert.equal(row.ratio, 0.8)
    assert.equal(row.difference, -20)
    assert.equal(row.goal, 'ratio >= 0.8')
    assert.equal(row.met, true)
    assert.equal(row.met_in_rounds, 2)
    assert.equal(rowOf([79.9], [100]).met, false, 'a goal is not loosened by rounding')
  })

  test('every kind of goal', () => {
    const difference: Goal = { of: 'difference', is: '<=', limit: 1 }
    assert.equal(meets(difference, 3, 2), true)
    assert.equal(meets(difference, 3.1, 2), false)
    assert.equal(goalText(difference, 'ms'), 'difference <= 1 ms')
    assert.equal(meets({ of: 'ours', is: '<', limit: 150 }, 150, Number.NaN), false)
    assert.equal(meets({ of: 'ours', is: '<', limit: 150 }, 149.9, Number.NaN), true)
    assert.equal(meets(ratioGoal, 1, Number.NaN), false, 'a peer that gave no number is no excuse')
  })

  test('a quick run and a row without a goal judge nothing', () => {
    assert.deepEqual(
      [rowOf([1], [1], ratioGoal, true).met, rowOf([1], [1], ratioGoal, true).met_in_rounds],
      [null, null],
    )
    const told = toRow(
      { name: 'a', title: 'a', unit: 'ms', better: 'lower', ours: [1, 2, 3], settings: {} },
      { quick: false },
    )
    assert.deepEqual([told.ours, told.peer, told.ratio, told.goal, told.met], [2, null, null, null, null])
  })

  test('sides that were not measured in the same rounds make no row', () => {
    assert.throws(() => rowOf([1, 2], [1]), /2 values of ours and 1 of the peer/)
    assert.throws(() => rowOf([], []), /0 values/)
  })

  test('the table names what was missed', () => {
    const table = tableOf([rowOf([80], [100]), rowOf([70], [100])])
    assert.match(table, /80 \(80–80\)\s+100 \(100–100\)\s+0\.8×\s+ratio >= 0\.8\s+met 1\/1/)
    assert.match(table, /0\.7×\s+ratio >= 0\.8\s+MISSED 0\/1/)
  })
})

test('the file system of a folder is that of the nearest mount point', () => {
  const mounts = ['/dev/a / ext4 rw 0 0', 'tmpfs /tmp tmpfs rw 0 0', 'overlay /tmp2 overlay rw 0 0']
  assert.equal(fileSystemOf('/tmp/x', mounts), 'tmpfs')
  assert.equal(fileSystemOf('/tmp2', mounts), 'overlay')
  assert.equal(fileSystemOf('/home', mounts), 'ext4')
  assert.equal(fileSystemOf('/home', []), 'unknown')
})

test("the table of npm scripts names the benchmark's areas", () => {
  const options = scriptTable.find(({ name }) => name === 'bench')?.options ?? {}
  const areas = AREAS.map(({ name }) => name).toSorted()
  assert.deepEqual(
    /`(.+)`/
      .exec(options['`-- AREA…`'] ?? '')?.[1]
      ?.split(' ')
      .toSorted(),
    areas,
  )
})

test('the processor time of a process is that of its threads, whatever its name', { skip: procMissing() }, () => {
  const before = processorTime(process.pid)
  const cpu = process.cpuUsage()
  const until = performance.now() + 200
  while (performance.now() < until) Math.sqrt(until)
  const { user, system } = process.cpuUsage(cpu)
  const [told, used] = [processorTime(process.pid) - before, (user + system) / 1000]
  assert.ok(used > 50 && Math.abs(told - used) <= 30, `${told} ms and ${used} ms`)
})

describe('the command', () => {
  function bench(...args: readonly string[]) {
    const script = join(import.meta.dirname, '../../scripts/bench.ts')
    return spawnSync(process.execPath, [script, ...args], { encoding: 'utf8' })
  }

  test('refuses what would give numbers that mean little', () => {
    for (const rounds of ['5', '8']) {
      const { status, stderr } = bench('journal', '--rounds', rounds)
      assert.equal(status, 64)
      assert.match(stderr, /an odd number of at least 7, or --quick/)
    }
    assert.match(bench('jornal').stderr, /no area jornal; there are\n {2}ssh/)
  })

  test('measures an area and writes its rows, the machine, and that it judged nothing', () => {
    const { status, stdout, stderr } = bench('journal', '--quick', '--json')
    assert.equal(status, 0, stderr)
    const document = JSON.parse(stdout)
    assert.equal(document.quick, true)
    assert.equal(document.machine.node, process.version)
    assert.equal(typeof document.machine.native, 'boolean')
    assert.deepEqual(
      document.areas.map(({ name, skipped, failed }: Record<string, unknown>) => ({ name, skipped, failed })),
      [{ name: 'journal', skipped: null, failed: null }],
    )
    const rows: readonly Row[] = document.rows
    assert.deepEqual(
      rows.map(({ name, goal, met }) => [name, goal, met]),
      [
        ['journal.rows.16', 'ratio >= 0.8', null],
        ['journal.runs.16', null, null],
        ['journal.delay.p99', null, null],
      ],
    )
    for (const { ours, peer, spread } of rows) {
      assert.ok(ours > 0 && (peer ?? 0) > 0 && spread.ours.min <= ours && ours <= spread.ours.max)
    }
    assert.equal(rows[0]?.settings.synchronous, 2, 'every commit is synced')
    assert.match(stderr, /a quick run: no goal was judged\n$/)
  })
})
