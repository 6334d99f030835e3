import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { after, before, describe, test } from 'node:test'
import { z } from 'zod'
import type { OperationContext } from '../../src/core/context.ts'
import { createRegistry } from '../../src/core/registry.ts'
import { createProbeWorker } from '../../src/testing/probe-worker.ts'
import { type RunOptions, runHere, surfaceApp } from '../helpers/mcp-cli-fixture.ts'
import { probeComposition, probeFolder } from '../helpers/probe-composition.ts'

const PIECE = 256 * 1024
const PIECES = 9

/** The probe with an operation that tells how many bytes are through, a piece every 250 ms. */
function copyingApp() {
  const probe = createProbeWorker()
  const copy = {
    id: 'probe.copy',
    title: 'Copy',
    summary: 'Tells of bytes that it does not copy.',
    effect: 'write' as const,
    idempotent: false,
    input: z.object({}),
    output: z.object({}),
    errors: [],
    timeout: 30,
    examples: [{ title: 'copy', input: {} }],
    async run(context: OperationContext) {
      for (let piece = 1; piece <= PIECES; piece++) {
        await context.clock.sleep(250, context.signal)
        await context.progress({ progress: piece * PIECE, total: PIECES * PIECE, unit: 'bytes', message: 'a.tar' })
      }
      return {}
    },
    summarize: () => ({ output: 'copied' }),
  }
  const worker = { ...probe, operations: [...probe.operations, copy] } as unknown as typeof probe
  return surfaceApp(probeComposition({ registry: createRegistry([worker]) }))
}

describe('the progress of a transfer on the command line', () => {
  const app = copyingApp()
  let folder: string
  before(async () => {
    folder = await probeFolder()
  })
  after(() => rm(folder, { recursive: true, force: true }))

  const copy = (options: RunOptions, ...more: string[]) =>
    runHere(['probe', 'copy', 'one', '--folder', folder, ...more], { app, ...options })

  test('is one line on a terminal, with bytes, rate and time left, and is gone at the end', async () => {
    const { stdout, stderr } = await copy({ columns: 120 })
    const drawn = stderr.split('\r\x1b[K')
    assert.equal(stdout, 'copied\n')
    assert.match(stderr, /^\r\x1b\[K[^\n]*\r\x1b\[K$/)
    assert.equal(drawn.at(-1), '')
    const line =
      /^probe\.copy {2}1\.\d\d s {2}(\d\.\d MiB|\d{3} KiB) of 2\.3 MiB \(\d+%\) {2}(\d\.\d MiB|\d{3,4} KiB)\/s {2}\d\.\d\d s left {2}a\.tar$/
    assert.match(drawn[1] ?? '', line)
  })

  test('does not go over the width of the terminal', async () => {
    const { stderr } = await copy({ columns: 40 })
    for (const line of stderr.split('\r\x1b[K')) assert.ok(line.length <= 39, line)
  })

  test('is not told to pipes of commands that are quick, nor with --quiet', async () => {
    assert.equal((await copy({})).stderr, '')
    assert.equal((await copy({ columns: 120 }, '--quiet')).stderr, '')
  })
})
