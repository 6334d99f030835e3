import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inRoot } from '../../scripts/lib/paths.ts'
import { SUITE_RUNS } from '../fixtures/mcp-conformance-expected.ts'
import { startConformanceServer } from '../fixtures/mcp-conformance-server.ts'
import type { TestHttpServer } from '../fixtures/mcp-http-server.ts'

/** The suite of the protocol's own project, which shares no code with ours. */
const SUITE = fileURLToPath(import.meta.resolve('@modelcontextprotocol/conformance/dist/index.js'))
const LONGEST_MS = 120_000
const doc = readFileSync(inRoot('docs/conformance.md'), 'utf8')

interface Check {
  readonly id: string
  readonly status: 'SUCCESS' | 'FAILURE' | 'WARNING' | 'SKIPPED' | 'INFO'
}

let server: TestHttpServer
before(async () => {
  server = await startConformanceServer()
})
after(() => server.close())

/** Runs the suite and reads its results: the checks of each scenario. */
async function runSuite(args: readonly string[]): Promise<ReadonlyMap<string, readonly Check[]>> {
  const folder = await mkdtemp(join(tmpdir(), 'mhv-conformance-'))
  try {
    const command = [SUITE, 'server', '--url', server.url, ...args, '--output-dir', folder]
    const child = spawn(process.execPath, command, { cwd: folder, stdio: 'ignore', timeout: LONGEST_MS })
    // Its exit code is that of its own idea of what may fail; ours is the reviewed list.
    await new Promise((resolve, reject) => child.on('close', resolve).on('error', reject))
    const results = new Map<string, readonly Check[]>()
    for (const name of await readdir(folder)) {
      const scenario = name.replace(/^server-/, '').replace(/-\d{4}-\d\d-\d\dT.*$/, '')
      results.set(scenario, JSON.parse(await readFile(join(folder, name, 'checks.json'), 'utf8')) as Check[])
    }
    return results
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const count = (results: ReadonlyMap<string, readonly Check[]>, wanted: Check['status']) =>
  [...results.values()].flat().filter(({ status }) => status === wanted).length

describe('the conformance suite on the transport that is shipped', () => {
  for (const { name, args, scenarios, passed, failures } of SUITE_RUNS) {
    test(`${name}: fails where the reviewed list says, and nowhere else`, async () => {
      const results = await runSuite(args)
      const failed = [...results].flatMap(([scenario, checks]) => {
        const ids = checks.filter(({ status }) => status === 'FAILURE')
        return ids.length === 0 ? [] : [{ scenario, checks: ids.length }]
      })
      const expected = failures.map(({ scenario, checks }) => ({ scenario, checks }))
      const byName = (a: { scenario: string }, b: { scenario: string }) => (a.scenario < b.scenario ? -1 : 1)
      assert.deepEqual(failed.sort(byName), expected.sort(byName))
      assert.deepEqual({ scenarios: results.size, passed: count(results, 'SUCCESS') }, { scenarios, passed })
    })
  }

  test('every number and every known failure stands in docs/conformance.md, with its reason', () => {
    for (const { args, scenarios, passed, failures } of SUITE_RUNS) {
      const failing = failures.reduce((sum, { checks }) => sum + checks, 0)
      const row = `| \`${args.join(' ')}\` | ${scenarios} | ${passed} | ${failing} |`
      assert.ok(doc.includes(row), `docs/conformance.md has no row "${row}"`)
      for (const { scenario, why } of failures) {
        assert.ok(doc.includes(`\`${scenario}\``), scenario)
        assert.ok(doc.includes(`## Known failures: ${why}`), why)
      }
    }
  })
})
