import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { inRoot } from '../../scripts/lib/paths.ts'
import { EXIT } from '../../src/core/error-table.ts'
import { quoteWord } from '../../src/surfaces/cli/quote.ts'
import { destroyApp } from '../fixtures/destroy-cli.ts'
import { shellMissing } from '../helpers/cli-command.ts'
import { runHere } from '../helpers/mcp-cli-fixture.ts'
import { probeFolder } from '../helpers/probe-composition.ts'

const app = destroyApp()
let folder: string
beforeEach(async () => {
  folder = await probeFolder()
})
afterEach(() => rm(folder, { recursive: true, force: true }))

const here = (...args: string[]) => runHere([...args, '--folder', folder], { app })

/** Operations of the runs in the journal; where nothing was ever run there is no journal. */
async function runs(): Promise<readonly string[]> {
  const { stdout } = await runHere(['runs', 'list', '--json', '--folder', folder], { app })
  const listed = JSON.parse(stdout) as { runs?: readonly { operation: string }[] }
  return (listed.runs ?? []).map(({ operation }) => operation)
}

describe('what destroys, where there is no terminal', () => {
  test('is refused before anything happens, with the remedy', async () => {
    const { code, stdout, stderr } = await here('probe', 'wipe', 'one')
    assert.deepEqual([code, stdout], [EXIT.input, ''])
    assert.match(
      stderr,
      /^error MHV_CLI_NOT_CONFIRMED: probe\.wipe on one may destroy .* no terminal to ask on\nfix: .*--yes/,
    )
    assert.deepEqual(await runs(), [])
  })

  test('is refused as a document with --json', async () => {
    const { stdout } = await here('probe', 'wipe-all', '--json')
    assert.equal(JSON.parse(stdout).error.code, 'MHV_CLI_NOT_CONFIRMED')
    assert.deepEqual(await runs(), [])
  })

  test('is done with --yes', async () => {
    assert.deepEqual(await here('probe', 'wipe', 'one', '--yes'), { code: 0, stdout: 'wiped\n', stderr: '' })
    assert.deepEqual(await runs(), ['probe.wipe'])
  })

  test('is not asked for where this input destroys nothing', async () => {
    const { code, stdout } = await here('probe', 'wipe', 'one', '--dry-run')
    assert.deepEqual([code, stdout], [0, 'wiped\n'])
  })

  test('nor by way of a schedule: what run-now does is what its operation does with its input', async () => {
    const schedules = `version: 1
schedules:
  wipe: { operation: probe.wipe, target: one, every: 3600 }
  look: { operation: probe.wipe, target: one, every: 3600, input: { dry_run: true } }
`
    await writeFile(join(folder, 'settings/schedules.yaml'), schedules)
    const refused = await here('schedules', 'run-now', 'wipe')
    assert.equal(refused.code, EXIT.input)
    assert.match(refused.stderr, /^error MHV_CLI_NOT_CONFIRMED: schedules run-now wipe may destroy /)
    assert.deepEqual(await runs(), [])
    assert.equal((await here('schedules', 'run-now', 'wipe', '--yes')).code, EXIT.ok)
    assert.equal((await here('schedules', 'run-now', 'look')).code, EXIT.ok)
    assert.deepEqual(await runs(), ['probe.wipe', 'probe.wipe'])
    assert.match((await here('schedules', 'run-now', 'wip')).stderr, /^error MHV_SCHEDULE_UNKNOWN: /)
  })

  test('input that is not valid is told as that', async () => {
    const { stderr } = await runHere(['probe', 'wipe', 'nowhere', '--dry-run', '--folder', folder], { app })
    assert.match(stderr, /^error MHV_TARGET_UNKNOWN/)
  })

  test('only what may destroy has --yes', async () => {
    assert.match((await here('probe', 'wipe', '--help')).stdout, /^ {2}--yes /m)
    assert.doesNotMatch((await here('probe', 'touch', '--help')).stdout, /--yes/)
    const { code, stderr } = await here('probe', 'touch', 'one', '--yes')
    assert.equal(code, EXIT.input)
    assert.match(stderr, /unknown option '--yes'/)
  })
})

describe('what destroys, on a terminal', { skip: shellMissing('script') }, () => {
  /** Runs it on a terminal of its own, answering the question; null is Ctrl-C. */
  async function onTerminal(args: readonly string[], answer: string | null) {
    const words = [process.execPath, inRoot('test/fixtures/destroy-cli.ts'), ...args, '--folder', folder]
    // Without `exec` some shells stay in between, and answer Ctrl-C themselves.
    const command = `exec ${words.map(quoteWord).join(' ')}`
    const env = { ...process.env, SHELL: '/bin/sh' }
    const child = spawn('script', ['-qefc', command, '/dev/null'], { stdio: 'pipe', env })
    let text = ''
    let answered = false
    child.stdout.setEncoding('utf8').on('data', (piece: string) => {
      text += piece
      if (answered || !text.includes('to go on: ')) return
      answered = true
      child.stdin.write(answer === null ? '\x03' : `${answer}\r`)
    })
    const [code] = (await once(child, 'close')) as [number | null]
    return { code, text: text.replaceAll('\r', ''), asked: answered }
  }

  test('is done when the name of the target is typed', { timeout: 60_000 }, async () => {
    const { code, text } = await onTerminal(['probe', 'wipe', 'one'], 'one')
    assert.equal(code, 0, text)
    assert.match(text, /^probe\.wipe on one may destroy what cannot be brought back\.\nType one to go on: one\n/)
    assert.match(text, /wiped\n$/)
    assert.deepEqual(await runs(), ['probe.wipe'])
  })

  test('is not done when anything else is typed', { timeout: 60_000 }, async () => {
    for (const answer of ['y', 'yes', 'two', '']) {
      const { code, text } = await onTerminal(['probe', 'wipe', 'one'], answer)
      assert.equal(code, EXIT.input, text)
      assert.match(text, /error MHV_CLI_NOT_CONFIRMED: .* was typed instead of "one"/)
    }
    assert.deepEqual(await runs(), [])
  })

  test('is not done at Ctrl-C', { timeout: 60_000 }, async () => {
    const { code, text } = await onTerminal(['probe', 'wipe', 'one'], null)
    assert.equal(code, EXIT.cancelled, text)
    assert.match(text, /error MHV_RUN_CANCELLED_QUEUED: interrupted before it began/)
    assert.deepEqual(await runs(), [])
  })

  test('without a target asks for the name of the operation', { timeout: 60_000 }, async () => {
    const { code, text } = await onTerminal(['probe', 'wipe-all'], 'probe.wipe_all')
    assert.deepEqual([code, /wiped\n$/.test(text)], [0, true], text)
  })

  test('is not asked for with --yes, nor where nothing is destroyed', { timeout: 60_000 }, async () => {
    for (const more of ['--yes', '--dry-run']) {
      const { code, asked } = await onTerminal(['probe', 'wipe', 'one', more], 'never')
      assert.deepEqual([code, asked], [0, false], more)
    }
  })
})
