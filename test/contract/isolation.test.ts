import assert from 'node:assert/strict'
import { readdirSync, readlinkSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, suite, test } from 'node:test'
import { type IsolationInstance, isolationInstance } from '../helpers/isolation-instance.ts'

/** Every operation of the registry in the main process and in a process of its worker: the same. */

let inside: IsolationInstance
let outside: IsolationInstance

before(async () => {
  inside = await isolationInstance({})
  const own = { isolation: 'process' }
  outside = await isolationInstance({ probe: own, trouble: own, calm: own })
})
after(async () => {
  await inside?.[Symbol.asyncDispose]()
  await outside?.[Symbol.asyncDispose]()
})

async function outcome(of: IsolationInstance, operation: string, input: object) {
  const { status, effect_certainty, output, data, error, error_code, exit_code, attempts, metadata } = await of.call(
    operation,
    input,
  )
  const { queue_seconds: _, dead_letter, ...known } = metadata
  const letter = dead_letter !== undefined
  return {
    status,
    effect_certainty,
    output: output === null ? null : timeless(output),
    data: timeless(data),
    error,
    error_code,
    exit_code,
    attempts,
    letter,
    metadata: known,
  }
}

/** Ids, times and ages are each call's own. */
function timeless<T>(value: T): T {
  const text = JSON.stringify(value)
    .replace(/[0-7][0-9A-HJKMNP-TV-Z]{25}/g, 'ID')
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
    .replace(/(?<name>oldest_seconds":|oldest )[\d.]+/g, '$<name>0')
  return JSON.parse(text)
}

/** Operations of the shipped workers that look at our side only, or leave to it what they are to do. */
const OWN_SIDE: readonly string[] = ['mqtt.messages', 'mqtt.outbox_status', 'mqtt.outbox_inspect', 'mqtt.outbox_drop']

suite('RES-13: an operation is the same in both modes of isolation', () => {
  test('every example of every operation', async () => {
    let compared = 0
    for (const { id, spec } of inside.instance.registry.operations) {
      // The number of a process is what differs by nature.
      if (id.endsWith('.pid')) continue
      for (const { input } of spec.examples) {
        assert.deepEqual(await outcome(outside, id, input), await outcome(inside, id, input), id)
        compared += 1
      }
    }
    assert.ok(compared >= 10, `${compared} examples`)
  })

  test('every example of every shipped operation, on a host that is not there', async () => {
    const module = new URL('../../src/workers/index.ts', import.meta.url)
    // A worker that is not here has no target, and the instance does not open: it has to be added.
    const blocks = {
      ssh: { host: '127.0.0.1', port: 1, user: 'nobody' },
      terminal: {},
      mqtt: { brokers: [{ url: 'mqtt://127.0.0.1:1' }] },
    }
    // Every call fails here, and none of them may be kept away by those before it.
    const calm = { retry: { budget: { size: 0 } }, circuit_breaker: { failure_threshold: 1_000 } }
    const settings = (isolation: string) => ({
      ssh: { isolation, known_hosts: [], ...calm },
      terminal: { isolation },
      mqtt: { isolation, ...calm, ota: { allowed_urls: ['https://firmware.example.org/'] } },
    })
    await using here = await isolationInstance(settings('none'), { module, blocks })
    await using there = await isolationInstance(settings('process'), { module, blocks })
    for (const { folder } of [here, there]) await writeFile(join(folder, 'known_hosts'), '', { mode: 0o600 })
    const { operations } = here.instance.registry
    assert.ok(operations.length > 0)
    for (const { id, spec } of operations) {
      for (const { input } of spec.examples) {
        const known = await outcome(here, id, input)
        // One without a target is about the worker itself, which is there; a message of QoS 1 waits on the disk.
        const own = spec.targeted === false || OWN_SIDE.includes(id) || (id === 'mqtt.publish' && 'qos' in input)
        const worker = id.startsWith('ssh.') ? 'SSH' : 'MQTT'
        if (!id.startsWith('terminal.'))
          assert.equal(known.error_code, own ? null : `MHV_${worker}_CONNECT_REFUSED`, id)
        assert.deepEqual(await outcome(there, id, input), known, id)
      }
    }
  })

  const failures: readonly (readonly [title: string, operation: string, input: object])[] = [
    ['an error of the table, with details, remedy and time', 'trouble.back', {}],
    ['a defect', 'trouble.back', { throws: 'defect' }],
    ['an error that is tried again', 'probe.fail', { code: 'MHV_SSH_CONNECT_REFUSED', times: 1 }],
    ['an error that is never tried again', 'probe.fail', { code: 'MHV_EXEC_FAILED' }],
    ['output in pieces', 'probe.emit', { pieces: ['a', 'ü'.repeat(100_000), '\u0000z'] }],
    ['every part of its context', 'trouble.context', {}],
  ]
  for (const [title, operation, input] of failures) {
    test(title, async () => {
      assert.deepEqual(await outcome(outside, operation, input), await outcome(inside, operation, input))
    })
  }

  test('a deadline and a cancellation end it with the same words', async () => {
    const ended = async (of: IsolationInstance) => {
      const late = await of.call('probe.emit', { pieces: ['x'], wait_ms: 60_000 }, { timeout: 0.5 })
      const handle = await of.call('probe.emit', { pieces: ['x'], wait_ms: 60_000 }, { wait: 0.2 })
      const { principal } = of.instance
      await of.instance.control({ name: 'run_cancel', input: { run_id: handle.run_id }, principal } as never)
      const found = await of.call('probe.look')
      assert.equal(found.status, 'completed')
      return [late.status, late.error_code, late.error, late.effect_certainty]
    }
    assert.deepEqual(await ended(outside), await ended(inside))
  })
})

for (const isolation of ['none', 'process']) {
  suite(`RES-10: the bandwidth of a worker, isolation ${isolation}`, () => {
    const limited = (more: object = {}) =>
      isolationInstance({ trouble: { isolation, bandwidth_limit: 400_000 } }, { blocks: { trouble: more } })

    test('all its runs together keep to it, and to the order of their calls', async () => {
      await using held = await limited()
      await held.call('trouble.transfer', { pieces: 0 })
      const began = performance.now()
      const runs = await Promise.all(
        [1, 2, 3, 4].map(() => held.call('trouble.transfer', { pieces: 4, bytes: 25_000 })),
      )
      const seconds = (performance.now() - began) / 1000
      for (const { status, data } of runs) assert.deepEqual([status, data], ['completed', { value: 400_000 }])
      // Of 400,000 bytes 100,000 go at once.
      assert.ok(seconds >= 0.74, `${seconds} s`)
      assert.ok(seconds < 3, `${seconds} s`)
    })

    test("a target's own limit holds within it, and a deadline ends the wait", async () => {
      await using held = await limited({ overrides: { bandwidth_limit: 1_000 } })
      const { data } = await held.call('trouble.transfer', { pieces: 2 })
      assert.deepEqual(data, { value: 1_000 })
      const { error_code } = await held.call('trouble.transfer', { pieces: 1 }, { timeout: 0.5 })
      assert.equal(error_code, 'MHV_RUN_TIMEOUT')
    })

    test('what is no number of bytes is a defect of the worker', async () => {
      await using held = await limited()
      const { error_code } = await held.call('trouble.transfer', { bytes: -1 })
      assert.equal(error_code, 'MHV_INTERNAL')
    })
  })
}

suite('a worker in its own process', () => {
  test('has secrets that are masked here, state, and ports of other processes', async () => {
    const file = join(outside.folder, 'seen')
    const { data, status, error } = await outside.call('trouble.context', { file })
    assert.equal(status, 'completed', error ?? '')
    assert.deepEqual((data as { value: unknown }).value, {
      applied: [{ key: 'd', value: 14 }],
      recorded: [
        ['k/2', { secret: '[redacted]' }, '[redacted]'],
        ['k/1', { n: 1 }, '\u0000\u00ff'],
      ],
      kept: 2,
      gone_records: 2,
      listed: [{ key: 'a', value: { n: 1 } }],
      gone: true,
      text: 'it is [redacted]',
      missing: 'MHV_PORT_MISSING',
      environment: false,
      shown: '[secret env:SECRET]',
    })
    // The worker itself has the value, and nothing else of our environment.
    assert.equal(await readFile(file, 'utf8'), 'hush-hush-hush')
  })

  test('RES-13: a port of another process takes bytes back by callback, and an abort', async () => {
    const { data } = await outside.call('calm.port', { abort: true })
    assert.deepEqual((data as { value: unknown }).value, { chunks: ['for calm', 'true'], bytes: 8 })
  })

  test('is another process than this one and than that of the other worker', async () => {
    const pids = await Promise.all(['trouble', 'calm'].map(async (name) => (await outside.call(`${name}.pid`)).data))
    const values = pids.map((data) => (data as { value: number }).value)
    assert.equal(new Set([process.pid, ...values]).size, 3)
  })

  test('inherits no descriptor beyond its own', async () => {
    const { data } = await outside.call('trouble.pid')
    const { value } = data as { value: number }
    const open = readdirSync(`/proc/${value}/fd`).map((fd) => readlinkOrEmpty(`/proc/${value}/fd/${fd}`))
    const foreign = open.filter((path) => path.includes(outside.folder) || path.includes('journal'))
    assert.deepEqual(foreign, [])
  })

  test('answers the look at a target', async () => {
    const { instance } = outside
    const answer = await instance.control({
      name: 'worker_health',
      input: { worker: 'trouble', ping: 'one' },
      principal: instance.principal,
    } as never)
    const { healthy, message } = answer.ping as { healthy: boolean; message: string }
    assert.deepEqual([healthy, message], [true, 'one is there'])
  })
})

function readlinkOrEmpty(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}
