import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { stringify } from 'yaml'
import { inRoot } from '../../scripts/lib/paths.ts'
import { createRegistry } from '../../src/core/registry.ts'
import { RESULT_FORMAT } from '../../src/core/result.ts'
import { actionsOf } from '../../src/surfaces/cli/grammar.ts'
import { buildProgram } from '../../src/surfaces/cli/program.ts'
import { createProbeWorker } from '../../src/testing/probe-worker.ts'
import { runHere, surfaceApp, surfaceFolder } from '../helpers/mcp-cli-fixture.ts'

const SNAPSHOT = 'test/contract/surfaces-cli-json.snapshot.json'

/** `a.b[].c: string`, one for each value; what has data of a worker's own in it is not gone into. */
function keyPaths(value: unknown, path = ''): readonly string[] {
  if (Array.isArray(value) && value.length === 0) return [`${path}: none`]
  if (Array.isArray(value)) return [...new Set(value.flatMap((each) => keyPaths(each, `${path}[]`)))]
  if (typeof value !== 'object' || value === null) return [`${path}: ${value === null ? 'null' : typeof value}`]
  if (OPEN.test(path)) return [`${path}: object`]
  const inner = Object.entries(value).flatMap(([key, each]) => keyPaths(each, path === '' ? key : `${path}.${key}`))
  return [...inner].sort()
}

/** Places where the keys are a worker's, an error's or a caller's. */
const OPEN = /(^|\.)(data|details|input|connection|by_status|schema)$/

const app = surfaceApp()
let folder: Awaited<ReturnType<typeof surfaceFolder>>
let runId = ''
let letterId = ''
let batchId = ''

before(async () => {
  folder = await surfaceFolder()
  const schedules = { nightly: { operation: 'probe.touch', target: 'one', cron: '@daily' } }
  await writeFile(join(folder.path, 'settings', 'schedules.yaml'), stringify({ version: 1, schedules }))
  const { stdout } = await runHere(['probe', 'emit', 'one', '--pieces', 'a', '--json', '--folder', folder.path], {
    app,
  })
  runId = JSON.parse(stdout).run_id
  const failing = ['probe', 'fail', 'one', '--code', 'MHV_SSH_AUTH_FAILED', '--json', '--folder', folder.path]
  batchId = JSON.parse((await runHere([...BATCH, '--json', '--folder', folder.path], { app })).stdout).batch.batch_id
  letterId = JSON.parse((await runHere(failing, { app })).stdout).metadata.dead_letter
})
after(() => folder.remove())

const BATCH = ['batches', 'run', 'probe.fail', '--select', 'one', '--input', '{"code":"MHV_SSH_AUTH_FAILED"}', '--yes']

/** Every command, and how it ends otherwise than well. */
const CASES: Readonly<Record<string, () => readonly string[]>> = {
  'OPERATION, completed': () => ['probe', 'touch', 'one', '--reason', 'why'],
  'OPERATION, failed': () => ['probe', 'fail', 'one', '--code', 'MHV_SSH_AUTH_FAILED'],
  'OPERATION, refused': () => ['probe', 'touch', 'nowhere'],
  'runs show': () => ['runs', 'show', runId],
  'runs wait': () => ['runs', 'wait', runId],
  'runs output': () => ['runs', 'output', runId],
  'runs cancel': () => ['runs', 'cancel', runId],
  'runs list': () => ['runs', 'list', '--operation', 'probe.emit', '--limit', '1'],
  'runs explain': () => ['runs', 'explain', runId],
  explain: () => ['explain', runId],
  'workers list': () => ['workers', 'list'],
  'workers health': () => ['workers', 'health', 'probe', '--ping', 'one'],
  'batches plan': () => ['batches', 'plan', 'probe.touch', '--select', 'one'],
  'batches run': () => ['batches', 'run', 'probe.touch', '--select', 'one', '--yes'],
  'batches show': () => ['batches', 'show', batchId],
  'batches list': () => ['batches', 'list', '--limit', '1'],
  'batches stop': () => ['batches', 'stop', batchId],
  'batches resume': () => ['batches', 'resume', batchId],
  'batches rerun': () => ['batches', 'rerun', batchId, '--yes'],
  'schedules list': () => ['schedules', 'list'],
  'schedules show': () => ['schedules', 'show', 'nightly'],
  'schedules pause': () => ['schedules', 'pause', 'nightly'],
  'schedules resume': () => ['schedules', 'resume', 'nightly'],
  'schedules run-now': () => ['schedules', 'run-now', 'nightly'],
  'dlq list': () => ['dlq', 'list', '--limit', '1'],
  'dlq show': () => ['dlq', 'show', letterId],
  'dlq replay': () => ['dlq', 'replay', letterId],
  'dlq archive': () => ['dlq', 'archive', letterId],
  'dlq stats': () => ['dlq', 'stats'],
  'dlq purge': () => ['dlq', 'purge', '--state', 'archived', '--yes'],
  'breakers force': () => ['breakers', 'force', 'one', '--worker', 'probe', '--state', 'closed'],
  'breakers list': () => ['breakers', 'list'],
  'config validate': () => ['config', 'validate'],
  'config validate, invalid': () => ['config', 'validate', '--folder', '/broken'],
  'config explain': () => ['config', 'explain', 'a.b'],
  'config show': () => ['config', 'show'],
  'config schema': () => ['config', 'schema'],
  doctor: () => ['doctor'],
  'runs follow': () => ['runs', 'follow', runId],
  completion: () => ['completion', 'bash'],
  'mcp config': () => ['mcp', 'config', '--client', 'claude'],
  'a wrong command line': () => ['runs', 'lst'],
}

async function documentOf(args: readonly string[]): Promise<unknown> {
  const where = args.includes('--folder') ? [] : ['--folder', folder.path]
  const { stdout } = await runHere([...args, '--json', ...where], { app })
  // Exactly one document: anything else would not parse.
  return JSON.parse(stdout)
}

describe('CLI-01: the output of --json', () => {
  const reviewed = JSON.parse(readFileSync(inRoot(SNAPSHOT), 'utf8')) as Readonly<Record<string, readonly string[]>>

  for (const [name, args] of Object.entries(CASES)) {
    test(`${name}: has the reviewed keys and types`, async () => {
      const document = await documentOf(args())
      const paths = keyPaths(document)
      assert.deepEqual(paths, reviewed[name], `${name} differs from ${SNAPSHOT}: ${JSON.stringify(paths, null, 2)}`)
      assert.equal((document as { metadata: { format: number } }).metadata.format, RESULT_FORMAT)
    })
  }

  test('is reviewed for every command there is', () => {
    const registry = createRegistry([createProbeWorker()])
    const program = buildProgram({ registry, version: '', rest: null, found: () => undefined })
    // Operations are all alike; `mcp` and `up` serve others, `complete` answers a shell, and a demo shows operations.
    const others = ['mcp', 'up', 'complete', 'demo mqtt']
    const commands = actionsOf(program)
      .map(({ words }) => words.slice(1).join(' '))
      .filter((command) => !others.includes(command) && !command.startsWith('probe '))
    assert.deepEqual(
      commands.filter((command) => !Object.hasOwn(CASES, command)),
      [],
    )
  })

  test('negative control: a key that is gone, new or of another type is seen', () => {
    const before = keyPaths({ run_id: 'a', metadata: { format: 1 } })
    for (const other of [
      { run_id: 'a', metadata: {} },
      { run_id: 1, metadata: { format: 1 } },
      { id: 'a', metadata: { format: 1 } },
    ]) {
      assert.notDeepEqual(keyPaths(other), before)
    }
  })

  test('is documented', () => {
    const guide = readFileSync(inRoot('docs/guides/cli.md'), 'utf8')
    for (const name of Object.keys(CASES)) {
      const command = name.split(',')[0] ?? ''
      assert.ok(guide.includes(command), `docs/guides/cli.md says nothing of ${command}`)
    }
  })
})
