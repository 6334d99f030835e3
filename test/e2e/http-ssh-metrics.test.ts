import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { createInstances } from '../../src/app.ts'
import { httpSettingsSchema } from '../../src/config/schema.ts'
import type { Instance } from '../../src/runtime/instance.ts'
import { createHttpServer, type HttpServer } from '../../src/surfaces/http/server.ts'
import { answerOf, openTcp } from '../helpers/http-server.ts'
import { until } from '../helpers/processes.ts'
import { sshInstance } from '../helpers/ssh-instance.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

const TOKEN = 'a-token-for-tests-that-is-long-enough'
const skip = sshdMissing() ?? false

describe('metrics of SSH, over HTTP, after real commands', { skip }, () => {
  let sshd: Sshd
  let folder: string
  let instance: Instance
  let server: HttpServer
  let port: number

  before(async () => {
    sshd = await startSshd()
    folder = await sshInstance(sshd)
    instance = await createInstances().open({ folder, doing: 'up' })
    const settings = httpSettingsSchema.parse({ port: 0 })
    server = await createHttpServer({ instance, token: { name: 'default', value: TOKEN }, settings, version: '1' })
    port = Number(new URL((await server.listen()).url).port)
  })
  after(async () => {
    await instance?.close()
    await server?.close()
    await sshd?.stop()
    if (folder !== undefined) await rm(folder, { recursive: true, force: true })
  })

  const headers = { authorization: `Bearer ${TOKEN}` }
  const ask = async (path: string, body?: unknown) =>
    answerOf(await openTcp(port, { path, headers, method: body === undefined ? 'GET' : 'POST', body }))
  const execute = (command: string, more = {}) =>
    ask('/v1/workers/ssh/operations/execute', { target: 'box', input: { command }, ...more })
  const metrics = async () => (await ask('/metrics')).text
  /** The value of a metric without labels; undefined where it is not exposed. */
  const numberOf = (text: string, name: string) => {
    const found = new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]
    return found === undefined ? undefined : Number(found)
  }

  test('before the first command nothing is said of a pool that is not there', async () => {
    const text = await metrics()
    assert.equal(numberOf(text, 'ssh_connection_pool_active'), undefined)
    assert.equal(numberOf(text, 'ssh_connection_creation_duration_seconds_count'), 0)
  })

  test('connections are busy while a command is on them, and idle after it', async () => {
    const { json: run } = await execute('sleep 20', { wait: 0 })
    assert.ok(await until(async () => numberOf(await metrics(), 'ssh_connection_pool_active') === 1))
    assert.equal(numberOf(await metrics(), 'ssh_connection_pool_idle'), 0)
    await ask(`/v1/runs/${run.run_id}/cancel`, {})
    assert.ok(await until(async () => numberOf(await metrics(), 'ssh_connection_pool_active') === 0))
    assert.equal(numberOf(await metrics(), 'ssh_connection_pool_idle'), 1)
  })

  test('the time that a connection took is measured once for each that was made', async () => {
    assert.equal((await execute('true')).json.exit_code, 0)
    const text = await metrics()
    assert.equal(numberOf(text, 'ssh_connection_creation_duration_seconds_count'), 1)
    const seconds = numberOf(text, 'ssh_connection_creation_duration_seconds_sum') ?? 0
    assert.ok(seconds > 0.001 && seconds < 30, `${seconds} s`)
    assert.match(text, /^ssh_connection_creation_duration_seconds_bucket\{le="\+Inf"\} 1$/m)
  })

  test('every declared objective is measured', async () => {
    const text = await metrics()
    for (const [slo, target] of [
      ['ssh_command_success', 0.995],
      ['ssh_connect_latency', 0.95],
      ['ssh_pool_availability', 0.999],
    ]) {
      assert.equal(numberOf(text, `mahavishnu_slo_target\\{slo="${slo}"\\}`), target)
      assert.equal(numberOf(text, `mahavishnu_slo_ratio\\{slo="${slo}"\\}`), 1, `${slo} in\n${text}`)
    }
  })

  test('connections that cannot be made are counted by code; no label names a target', async () => {
    await sshd.stop(true)
    assert.ok(await until(async () => numberOf(await metrics(), 'ssh_connection_pool_idle') === 0))
    const { json } = await execute('true', { timeout: 10 })
    assert.equal(json.error_code, 'MHV_SSH_CONNECT_REFUSED')
    const text = await metrics()
    assert.match(text, /^ssh_connection_errors_total\{error_type="MHV_SSH_CONNECT_REFUSED"\} [1-9]/m)
    assert.equal(numberOf(text, 'ssh_connection_creation_duration_seconds_count'), 1)
    assert.equal(/\bbox\b|127\.0\.0\.1/.test(text), false)
  })
})
