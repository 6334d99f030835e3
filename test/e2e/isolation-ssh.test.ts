import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { after, before, suite, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { createInstances, production } from '../../src/app.ts'
import type { WorkerResult } from '../../src/core/result.ts'
import type { OpenInstance } from '../../src/runtime/instance.ts'
import { carrying, childrenOf, until } from '../helpers/processes.ts'
import { sshInstance } from '../helpers/ssh-instance.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

/** `ssh.execute` with `isolation: process` against a real sshd. */

const skip = sshdMissing()
let sshd: Sshd
const open: { instance: OpenInstance; folder: string }[] = []

async function instanceWith(ssh: Readonly<Record<string, unknown>>): Promise<OpenInstance> {
  const folder = await sshInstance(sshd, { ssh })
  const instance = await createInstances({ ...production(), env: {} }).open({ folder, doing: 'test' })
  open.push({ instance, folder })
  return instance
}

let inside: OpenInstance
let outside: OpenInstance

before(async () => {
  if (skip) return
  sshd = await startSshd()
  inside = await instanceWith({})
  outside = await instanceWith({ isolation: 'process' })
})
after(async () => {
  for (const { instance, folder } of open) {
    await instance.close()
    await rm(folder, { recursive: true, force: true })
  }
  await sshd?.stop()
})

const execute = (instance: OpenInstance, command: string, envelope: object = {}, more: object = {}) =>
  act(instance, 'ssh.execute', { command, ...more }, envelope)

function act(instance: OpenInstance, operation: string, input: object, envelope: object = {}) {
  const { targeted } = instance.registry.operation(operation).spec
  return instance.invoke({
    operation,
    input,
    envelope: { ...(targeted === false ? {} : { target: 'box' }), ...envelope },
    principal: instance.principal,
    surface: 'embedded',
  })
}

/** Of every operation that acts on a real target, what it is asked for; their examples are not for this machine. */
const ASKED: Readonly<Record<string, readonly object[]>> = {
  'ssh.execute': [
    { command: 'echo out; echo err >&2; exit 3' },
    { command: 'cat; pwd; echo "$A"', stdin: 'in\0ü\n', cwd: '/usr/bin', env: { A: "it's" } },
    { command: 'kill -KILL $$' },
    { command: 'head -c 3000000 /dev/zero | tr "\\0" x' },
    { command: 'printf "\\377\\376"' },
    { command: 'echo out; echo err >&2; exit 4', detach: true },
  ],
  'ssh.script': [{ script: 'echo "$1"; cat; exit 2', args: ['a b'], stdin: 'in' }],
  'ssh.sftp_list': [{ path: '/etc/ssh' }],
  'ssh.sftp_stat': [{ path: '/etc/passwd' }],
  'ssh.sftp_mkdir': [{ path: '/tmp' }],
  'ssh.sftp_remove': [{ paths: ['/tmp/mhv-there-is-none'], missing_ok: true }],
  'ssh.sftp_transfer': [{ direction: 'download', files: [{ local: 'passwd', remote: '/etc/passwd' }] }],
  'ssh.trust_host': [{}],
  'ssh.pool_status': [{ host: 'no-such-host' }],
  'ssh.drain': [{ host: 'no-such-host' }],
}

/** What differs from run to run: processes, times, and counts of what came before. */
const OWN = new Set([
  'pid',
  'seconds',
  'bytes_per_second',
  'connections',
  'given',
  'exhausted',
  'local',
  'directory',
  'file',
  'known_hosts',
])

function comparable(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(comparable)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, of]) => [key, OWN.has(key) ? null : comparable(of)]))
}

/** Operations whose text for people tells times, or paths of the instance. */
const OWN_WORDS = new Set(['ssh.sftp_transfer', 'ssh.trust_host', 'ssh.pool_status'])

test('RES-13: every operation of the SSH worker is asked for something here', () => {
  const { operations } = production().registry
  const ids = operations.flatMap(({ id, worker }) => (worker.name === 'ssh' ? [id] : []))
  assert.deepEqual(Object.keys(ASKED).sort(), ids.sort())
})

suite('RES-13: the operations of the SSH worker in a process of its own', { skip }, () => {
  for (const [operation, inputs] of Object.entries(ASKED)) {
    for (const input of inputs) {
      test(`the same result: ${operation} ${JSON.stringify(input).slice(0, 80)}`, async () => {
        const [here, there] = await Promise.all([inside, outside].map((each) => act(each, operation, input)))
        const known = (result: typeof here) => {
          const { status, error_code, exit_code, effect_certainty, output, data } = result as NonNullable<typeof here>
          const shown = OWN_WORDS.has(operation) ? null : output
          return { status, error_code, exit_code, effect_certainty, output: shown, data: comparable(data) }
        }
        assert.equal(here?.status, 'completed', here?.error ?? '')
        assert.deepEqual(known(there), known(here))
      })
    }
  }

  test('the connection is in the process of the worker', async () => {
    await execute(outside, 'true')
    const { principal } = outside
    const answer = await outside.control({ name: 'worker_health', input: { worker: 'ssh' }, principal } as never)
    const [{ connection }] = answer.workers as [{ connection: { pid: number; isolation: string } }]
    assert.equal(connection.isolation, 'process')
    assert.ok(childrenOf(process.pid).includes(connection.pid))
  })

  test('output comes while the command runs', async () => {
    const handle = await execute(outside, 'echo first; sleep 3; echo last', { wait: 0 })
    const { principal } = outside
    const began = performance.now()
    const seen: { readonly text: string; readonly at: number }[] = []
    const { signal } = new AbortController()
    const request = { run_id: handle.run_id, afterEvent: 0, afterOutput: 0, signal, principal }
    for await (const item of outside.follow(request)) {
      if (item.kind === 'output') seen.push({ text: item.text, at: performance.now() - began })
    }
    assert.deepEqual(seen.map(({ text }) => text).join(''), 'first\nlast\n')
    assert.ok((seen[0]?.at ?? 0) < 2_000 && (seen.at(-1)?.at ?? 0) > 2_000, JSON.stringify(seen))
  })

  test('a cancellation ends the command on the host', async () => {
    const handle = await execute(outside, 'sleep 300', { wait: 0 })
    assert.ok(await until(() => carrying(handle.run_id).length > 0), 'the command runs')
    const { principal } = outside
    await outside.control({ name: 'run_cancel', input: { run_id: handle.run_id }, principal } as never)
    assert.ok(await until(() => carrying(handle.run_id).length === 0, 10_000), 'the command is gone')
  })

  test('RES-10: kill -9 of it ends its run as unknown, and the next command runs', async () => {
    const { principal } = outside
    const acting = execute(outside, 'sleep 2')
    await delay(500)
    const answer = await outside.control({ name: 'worker_health', input: { worker: 'ssh' }, principal } as never)
    const [{ connection }] = answer.workers as [{ connection: { pid: number } }]
    process.kill(connection.pid, 'SIGKILL')
    const { error_code, effect_certainty } = await acting
    assert.deepEqual([error_code, effect_certainty], ['MHV_WORKER_DIED', 'unknown'])
    assert.equal((await execute(outside, 'echo again')).output, 'again\n')
  })

  test('SSH-07: kill -9 of it while a detached command runs: the run goes on, and every line is there once', async () => {
    const { principal } = outside
    const command = 'for i in 1 2 3 4 5 6 7 8; do echo line $i; sleep 0.4; done; exit 7'
    const handle = await execute(outside, command, { wait: 0 }, { detach: true })
    assert.ok(await until(() => carrying(handle.run_id).length > 0), 'the command runs')
    const output = async () => {
      const request = { name: 'run_output', input: { run_id: handle.run_id }, principal }
      const { chunks } = (await outside.control(request as never)) as { chunks: { text: string }[] }
      return chunks.map(({ text }) => text).join('')
    }
    assert.ok(await until(async () => (await output()).includes('line 2'), 10_000), 'its output comes')
    const answer = await outside.control({ name: 'worker_health', input: { worker: 'ssh' }, principal } as never)
    const [{ connection }] = answer.workers as [{ connection: { pid: number } }]
    process.kill(connection.pid, 'SIGKILL')
    const wait = { name: 'run_wait', input: { run_id: handle.run_id, seconds: 30 }, principal }
    const { run } = (await outside.control(wait as never)) as { run: WorkerResult }
    const lines = Array.from({ length: 8 }, (_, nth) => `line ${nth + 1}\n`).join('')
    assert.deepEqual([run.status, run.exit_code, run.output], ['completed', 7, lines])
    assert.equal(await output(), lines)
    assert.equal(run.attempts, 2)
    await execute(outside, 'true')
    assert.ok(await until(() => carrying(handle.run_id).length === 0, 10_000), 'nothing of it is left')
  })
})
