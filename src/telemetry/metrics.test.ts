import assert from 'node:assert/strict'
import { suite, test } from 'node:test'
import { createRunMetrics } from './metrics.ts'

const run = { worker: 'ssh', operation: 'ssh.execute', seconds: 2, queueSeconds: 0.5, attempts: 2 } as const

suite('metrics of runs', () => {
  test('count what was accepted, refused and finished, by bounded labels only', async () => {
    const metrics = createRunMetrics()
    metrics.accepted('ssh')
    metrics.accepted('ssh')
    metrics.finished({ ...run, status: 'completed' })
    metrics.refused('ssh', 'MHV_ADMISSION_FULL')
    const text = await metrics.registry.metrics()
    for (const line of [
      'mahavishnu_runs_total{worker="ssh",operation="ssh.execute",status="completed"} 1',
      'mahavishnu_attempts_total{worker="ssh",operation="ssh.execute"} 2',
      'mahavishnu_runs_active{worker="ssh"} 1',
      'mahavishnu_refused_total{worker="ssh",code="MHV_ADMISSION_FULL"} 1',
      'mahavishnu_run_duration_seconds_sum{worker="ssh",operation="ssh.execute"} 2',
      'mahavishnu_queue_wait_seconds_sum{worker="ssh"} 0.5',
    ]) {
      assert.ok(text.includes(line), `${line} is missing in\n${text}`)
    }
  })

  test('two instances in one process do not count together', async () => {
    const [one, two] = [createRunMetrics(), createRunMetrics()]
    one.finished({ ...run, status: 'failed' })
    one.finished({ ...run, status: 'failed', worker: 'mqtt' })
    assert.deepEqual(await one.totals('ssh'), { runs: 1, refused: 0, by_status: { failed: 1 } })
    assert.deepEqual(await two.totals('ssh'), { runs: 0, refused: 0, by_status: {} })
  })
})
