import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Slo } from '../core/worker.ts'
import { Registry } from './prometheus.ts'
import { type EndedRun, observeSsh } from './ssh-metrics.ts'

const run: EndedRun = {
  operation: 'ssh.execute',
  error_code: null,
  exit_code: 0,
  seconds: 1,
  input: () => ({}),
  data: {},
}

/** As the worker declares them; test/e2e/http-ssh-metrics.test.ts asks for those that it has. */
const slos: readonly Slo[] = [
  { name: 'ssh_command_success', description: '', kind: 'ratio', target: 0.995, window_days: 30 },
  { name: 'ssh_connect_latency', description: '', kind: 'latency', target: 5, percentile: 95, window_days: 7 },
  { name: 'ssh_pool_availability', description: '', kind: 'ratio', target: 0.999, window_days: 30 },
]

function setUp(stats?: Readonly<Record<string, number>>) {
  const registry = new Registry()
  const metrics = observeSsh(registry, () => stats, slos)
  const value = async (line: string) => {
    const found = (await registry.metrics()).split('\n').find((each) => each.startsWith(`${line} `))
    return found === undefined ? undefined : Number(found.slice(line.length))
  }
  return { metrics, value }
}

test('a non-zero exit is no failure of the worker; nor is what the caller did', async () => {
  const { metrics, value } = setUp()
  metrics.ended(run)
  metrics.ended({ ...run, exit_code: 3 })
  metrics.ended({ ...run, exit_code: null, error_code: 'MHV_SSH_CONNECTION_LOST' })
  metrics.ended({ ...run, exit_code: null, error_code: 'MHV_RUN_CANCELLED' })
  metrics.ended({ ...run, exit_code: null, error_code: 'MHV_SSH_CWD_FAILED' })
  metrics.ended({ ...run, exit_code: null, error_code: 'MHV_SSH_AUTH_FAILED' })
  assert.equal(await value('mahavishnu_slo_events_total{slo="ssh_command_success",outcome="good"}'), 2)
  assert.equal(await value('mahavishnu_slo_events_total{slo="ssh_command_success",outcome="bad"}'), 1)
  assert.equal(await value('mahavishnu_slo_target{slo="ssh_command_success"}'), 0.995)
  assert.equal(await value('ssh_command_duration_seconds_count{exit_code="other"}'), 1)
  assert.equal(await value('ssh_command_errors_total{error_type="MHV_SSH_CONNECTION_LOST"}'), 1)
})

test('connections that are slow or fail count against p95 < 5 s', async () => {
  const { metrics, value } = setUp()
  for (const seconds of [0.1, 4.9, 5.1]) metrics.connected({ seconds, error_code: null })
  metrics.connected({ seconds: 0.1, error_code: 'MHV_SSH_CONNECT_REFUSED' })
  assert.equal(await value('mahavishnu_slo_ratio{slo="ssh_connect_latency"}'), 0.5)
  assert.equal(await value('mahavishnu_slo_target{slo="ssh_connect_latency"}'), 0.95)
})

test('the pool says how many calls got a channel, and by which states its connections are', async () => {
  const stats = {
    given_total: 999,
    exhausted_total: 1,
    busy: 2,
    idle: 3,
    connecting: 1,
    waiting: 4,
    max_connections: 50,
  }
  const { value } = setUp(stats)
  assert.equal(await value('mahavishnu_slo_ratio{slo="ssh_pool_availability"}'), 0.999)
  assert.equal(await value('ssh_connection_pool_exhausted_total'), 1)
  assert.equal(await value('ssh_connection_pool_active_connections{state="active"}'), 2)
  assert.equal(await value('ssh_connection_pool_active_connections{state="idle"}'), 3)
  assert.equal(await value('ssh_max_connections'), 50)
})

test('before the first command nothing is said of a pool that is not there', async () => {
  const { value } = setUp()
  assert.equal(await value('mahavishnu_slo_ratio{slo="ssh_pool_availability"}'), undefined)
  assert.equal(await value('ssh_connection_pool_active_connections{state="active"}'), undefined)
})

test('transfers are measured by direction; no label is made of what a caller says', async () => {
  const { metrics, value } = setUp()
  const transfer = { ...run, operation: 'ssh.sftp_transfer', exit_code: null }
  metrics.ended({ ...transfer, input: () => ({ direction: 'upload' }), data: { bytes: 1_000 } })
  metrics.ended({ ...transfer, input: () => ({ direction: 'sideways' }), data: null, error_code: 'MHV_INTERNAL' })
  assert.equal(await value('ssh_sftp_bytes_transferred_total{direction="upload"}'), 1_000)
  assert.equal(await value('ssh_sftp_transfer_duration_seconds_count{direction="upload",status="completed"}'), 1)
  assert.equal(await value('ssh_sftp_transfer_duration_seconds_count{direction="unknown",status="failed"}'), 1)
})
