import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { inRoot } from '../../scripts/lib/paths.ts'
import { EXIT } from '../../src/core/error-table.ts'
import type { WorkerResult } from '../../src/core/result.ts'
import { type CliCommand, cliCommand, inShell } from '../helpers/cli-command.ts'
import { carrying, endRuns, noneCarries, until } from '../helpers/processes.ts'
import { sshInstance } from '../helpers/ssh-instance.ts'
import { type Sshd, sshdMissing, startSshd } from '../helpers/sshd.ts'

describe('MCP-03: `runs cancel`, through an instance that is up, ends the remote work and says what is known', {
  skip: sshdMissing(),
}, () => {
  let sshd: Sshd
  let folder: string
  let command: CliCommand
  let up: ChildProcess

  before(async () => {
    sshd = await startSshd()
    folder = await sshInstance(sshd)
    command = await cliCommand()
    up = spawn(process.execPath, [inRoot('src/bin.ts'), 'up', '--folder', folder, '--set', 'http.port=0'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let said = ''
    up.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    assert.ok(await until(() => said.includes('the token is in'), 20_000), said)
  })
  after(async () => {
    const ended = once(up, 'exit')
    up.kill('SIGTERM')
    await ended
    await command.remove()
    await rm(folder, { recursive: true, force: true })
    await sshd.stop()
  })

  const mahavishnu = (line: string) =>
    inShell('bash', `mahavishnu ${line}`, { command, env: { MAHAVISHNU_HOME: folder } })

  /** Begins a command of minutes on the target, from another process, and waits until it acts there. */
  async function begin(script: string) {
    const waiting = mahavishnu(`ssh execute box -- '${script}'`)
    let run_id = ''
    assert.ok(
      await until(async () => {
        const { stdout } = await mahavishnu('runs list --status running --json')
        run_id = (JSON.parse(stdout) as { runs: WorkerResult[] }).runs[0]?.run_id ?? ''
        return run_id !== '' && carrying(run_id).length > 0
      }, 20_000),
      'nothing runs on the target',
    )
    return { run_id, waiting }
  }

  test('a command that ends when it is asked to', { timeout: 90_000 }, async () => {
    const { run_id, waiting } = await begin('echo began; sleep 300')
    const { code, stdout } = await mahavishnu(`runs cancel ${run_id} --reason "not wanted"`)
    assert.equal(code, EXIT.ok)
    assert.match(stdout, new RegExp(`^run +${run_id}$`, 'm'))
    assert.match(stdout, /^status +cancelled$/m)
    assert.match(stdout, /^effect +unknown: it may have been applied$/m)
    assert.match(stdout, /^error +MHV_RUN_CANCELLED: the run was cancelled by user:\d+/m)
    noneCarries(run_id)
    // Whoever waited for it is told the same.
    const told = await waiting
    assert.equal(told.code, EXIT.cancelled)
    assert.match(told.stderr, /^error MHV_RUN_CANCELLED: .*\nfix: .*\neffect: unknown: it may have been applied$/m)
  })

  test('a command that does not want to end, with all that it started', { timeout: 90_000 }, async () => {
    const { run_id, waiting } = await begin('trap "" TERM HUP INT; sleep 300 & sleep 301')
    try {
      assert.ok(carrying(run_id).length >= 2, 'it has not started all yet')
      const { code, stdout } = await mahavishnu(`runs cancel ${run_id} --json`)
      const { run, ended } = JSON.parse(stdout) as { run: WorkerResult; ended: boolean }
      assert.deepEqual([code, ended, run.status, run.effect_certainty], [EXIT.ok, true, 'cancelled', 'unknown'])
      noneCarries(run_id)
      await waiting
    } finally {
      await endRuns([run_id])
    }
  })

  test('a run that has ended stays as it is', async () => {
    const { stdout } = await mahavishnu('ssh execute box --json -- true')
    const { run_id } = JSON.parse(stdout) as WorkerResult
    const { code, stdout: shown } = await mahavishnu(`runs cancel ${run_id}`)
    assert.equal(code, EXIT.ok)
    assert.match(shown, /^status +completed$/m)
    assert.match(shown, /^effect +it was applied$/m)
  })
})
