import assert from 'node:assert/strict'
import { readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { type Composition, createInstances, production } from '../../src/app.ts'
import { ERROR_CATEGORIES } from '../../src/core/error-table.ts'
import { createRegistry } from '../../src/core/registry.ts'
import type { WorkerResult } from '../../src/core/result.ts'
import { createRetryPolicy } from '../../src/resilience/retry.ts'
import { ssh } from '../../src/workers/ssh/index.ts'
import { until } from '../helpers/processes.ts'
import { sshInstance } from '../helpers/ssh-instance.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'
import { startTcpProxy, type TcpProxy } from '../helpers/tcp-proxy.ts'

/** RES-03 against a real server: the connection is cut at every moment, and the effects are counted on the far side. */

const skip = sshdMissing()
let sshd: Sshd
let proxy: TcpProxy
const folders: string[] = []

before(async () => {
  if (skip) return
  sshd = await startSshd()
  proxy = await startTcpProxy({ port: sshd.port })
})
after(async () => {
  if (skip) return
  await proxy.close()
  await sshd.stop()
  for (const folder of folders) await rm(folder, { recursive: true, force: true })
})

/** Milliseconds until the cut, from within the handshake to after the command's end. */
const CUTS = [0, 10, 20, 40, 60, 80, 110, 150, 200, 260, 330, 420]
const AT_ONCE = 4

interface Counted {
  readonly result: WorkerResult
  /** Lines that the run's command wrote on the host. */
  readonly effects: number
}

/** Calls a command that is no idempotent one, while the connection is cut again and again. */
async function storm(composition: Composition, name: string): Promise<readonly Counted[]> {
  const settings = { retry: { base_ms: 20 }, circuit_breaker: { failure_threshold: 10_000 } }
  const target = { port: proxy.port, host_key_alias: `[127.0.0.1]:${sshd.port}` }
  const folder = await sshInstance(sshd, { ssh: settings, target })
  folders.push(folder)
  const ledger = join(folder, `ledger-${name}`)
  await writeFile(ledger, '')
  const instance = await createInstances(composition).open({ folder, doing: 'test', set: { 'log.level': 'error' } })
  const counted: { result: WorkerResult; mark: string }[] = []
  try {
    for (const [round, ms] of CUTS.entries()) {
      const calls = Array.from({ length: AT_ONCE }, async (_, index) => {
        const mark = `${round}.${index}.`
        const input = { command: `echo ${mark} >> ${ledger}; sleep 0.15` }
        const { principal } = instance
        const envelope = { target: 'box', timeout: 20 }
        const result = await instance.invoke({
          operation: 'ssh.execute',
          input,
          envelope,
          principal,
          surface: 'embedded',
        })
        counted.push({ result, mark })
      })
      await delay(ms)
      proxy.cut()
      await Promise.all(calls)
    }
  } finally {
    await instance.close()
  }
  // What was cut off on the host may still be at it.
  await until(() => sshd.connections().length === 0, 5_000)
  await delay(300)
  const lines = (await readFile(ledger, 'utf8')).split('\n')
  return counted.map(({ result, mark }) => ({ result, effects: lines.filter((line) => line === mark).length }))
}

test('RES-03: a connection cut at any moment never makes a command act twice, and the result tells what is known', {
  skip,
}, async () => {
  const counted = await storm(production(), 'safe')
  for (const { result, effects } of counted) {
    const { status, error_code, effect_certainty } = result
    const what = `${status} ${error_code} ${effect_certainty}: ${effects} effects`
    assert.ok(effects <= 1, what)
    if (status === 'completed') assert.equal(effects, 1, what)
    if (effect_certainty === 'none') assert.equal(effects, 0, what)
    if (effect_certainty === null) assert.fail(what)
  }
  const of = (wanted: (result: WorkerResult) => boolean) => counted.filter(({ result }) => wanted(result)).length
  assert.ok(of(({ attempts }) => attempts > 1) > 0, 'nothing was ever tried again')
  assert.ok(of(({ effect_certainty }) => effect_certainty === 'unknown') > 0, 'nothing was ever cut off while it acted')
  assert.ok(of(({ status }) => status === 'completed') > 0, 'nothing was ever done')
})

test('RES-03: negative control: a retry that does not ask what was done makes commands act twice', {
  skip,
}, async () => {
  const retry = { strategy: 'retry', max_attempts: 3 } as const
  const categories = Object.fromEntries(ERROR_CATEGORIES.map((category) => [category, retry]))
  const counted = await storm(
    {
      ...production(),
      registry: createRegistry([{ ...ssh, recovery: { codes: {}, categories } }]),
      createRetryPolicy: () => ({
        ...createRetryPolicy(),
        denialOf: ({ attempt }) => (attempt < 3 ? null : 'attempts'),
      }),
    },
    'careless',
  )
  assert.ok(
    counted.some(({ effects }) => effects > 1),
    'nobody noticed a careless retry',
  )
})
