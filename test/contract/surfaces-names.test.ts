import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { z } from 'zod'
import { inRoot } from '../../scripts/lib/paths.ts'
import type { OperationSpec } from '../../src/core/operation.ts'
import { createRegistry } from '../../src/core/registry.ts'
import { type AnyWorker, defineWorker } from '../../src/core/worker.ts'
import { controlRoutes } from '../../src/surfaces/http/control-routes.ts'
import { nameTable, RESERVED_NOUNS } from '../../src/surfaces/names.ts'
import { workers } from '../../src/workers/index.ts'

function workerOf(name: string, operations: readonly OperationSpec[]): AnyWorker {
  return defineWorker({
    name,
    title: name,
    description: name,
    settings: z.object({}),
    target: z.object({}),
    breaker: { failure_threshold: 1, recovery_timeout: 1, half_open_max_calls: 1 },
    connect: async () => ({ stats: () => ({}), close: async () => undefined }),
    slos: [],
    recovery: { codes: {}, categories: {} },
    operations: [...operations],
  })
}

function operationOf(id: string, more: Partial<OperationSpec> = {}): OperationSpec {
  return {
    id,
    title: id,
    summary: id,
    effect: 'read',
    idempotent: true,
    input: z.object({}),
    output: z.object({}),
    errors: [],
    timeout: 1,
    examples: [{ title: 'plain', input: {} }],
    run: async () => ({}),
    ...more,
  }
}

const tableOf = (...declared: readonly AnyWorker[]) => nameTable(createRegistry(declared))

describe('the table of names', () => {
  test('derives every name from the declaration', () => {
    const [name] = tableOf(workerOf('cloud_run', [operationOf('cloud_run.list_services')]))
    assert.deepEqual(name, {
      kind: 'operation',
      id: 'cloud_run.list_services',
      mcp: 'cloud_run_list_services',
      cli: ['cloud-run', 'list-services'],
      http: 'POST /v1/workers/cloud_run/operations/list_services',
    })
  })

  test('takes the one exception', () => {
    const [name] = tableOf(workerOf('backup', [operationOf('backup.repos', { mcpName: 'backup_repos' })]))
    assert.equal(name?.mcp, 'backup_repos')
  })

  test('is the reviewed one for the workers that are shipped', () => {
    const reviewed: unknown = JSON.parse(readFileSync(inRoot('docs/reference/names.json'), 'utf8'))
    const now = nameTable(createRegistry(workers)).map(({ kind, id, mcp, cli, http }) => ({
      kind,
      id,
      mcp,
      cli: cli.join(' '),
      http,
    }))
    assert.deepEqual(now, reviewed)
  })

  test('a worker may not be called like a command', () => {
    for (const noun of RESERVED_NOUNS) {
      const worker = noun.replaceAll('-', '_')
      assert.throws(() => tableOf(workerOf(worker, [operationOf(`${worker}.look`)])), /is a command already/)
    }
  })

  test('a shortcut of a control call is a reserved word that means nothing else', () => {
    const of = (shortcut: string) => () =>
      nameTable({ operations: [] }, [{ name: 'run_look', cli: ['runs', 'look'], shortcut, effect: 'read' }])
    assert.doesNotThrow(of('explain'))
    assert.throws(of('look'), /its shortcut "look" must be among the reserved words/)
    assert.throws(of('runs'), /its shortcut "runs" is a group of commands already/)
  })

  test('no two things may be called the same', () => {
    const twins = workerOf('a', [operationOf('a.one', { mcpName: 'x' }), operationOf('a.two', { mcpName: 'x' })])
    assert.throws(() => tableOf(twins), /"a.one" and "a.two" would both be the MCP tool "x"/)
    const control = workerOf('a', [operationOf('a.one', { mcpName: 'run_list' })])
    assert.throws(() => tableOf(control), /would both be the MCP tool "run_list"/)
  })

  test('a control call has the route that the server serves', () => {
    const names = nameTable(createRegistry(workers)).filter(({ kind }) => kind === 'control')
    const served = controlRoutes().map(({ call, method, path }) => [call.name, `${method} ${path}`])
    assert.deepEqual(
      names.map(({ id, http }) => [id, http]),
      served,
    )
    assert.equal(names.find(({ id }) => id === 'run_cancel')?.http, 'POST /v1/runs/{run_id}/cancel')
  })

  test('a tool has a name that clients take', () => {
    const long = workerOf('a', [operationOf('a.one', { mcpName: 'x'.repeat(65) })])
    assert.throws(() => tableOf(long), /is no name for an MCP tool/)
  })

  test('a field may not be an option that exists already', () => {
    for (const field of ['json', 'folder', 'quiet', 'no_wait']) {
      const input = z.object({ [field]: z.string().optional() })
      assert.throws(() => tableOf(workerOf('a', [operationOf('a.one', { input })])), new RegExp(`its field "${field}"`))
    }
    const input = z.object({ stdin: z.string().optional(), data: z.string().optional() })
    const hints = { stdin: 'data' } as unknown as NonNullable<OperationSpec['cli']>
    assert.throws(() => tableOf(workerOf('a', [operationOf('a.one', { input, cli: hints })])), /its field "stdin"/)
  })
})
