import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, describe, test } from 'node:test'
import { z } from 'zod'
import { inRoot } from '../../scripts/lib/paths.ts'
import { defineOperation, type Effect } from '../../src/core/operation.ts'
import { createRegistry } from '../../src/core/registry.ts'
import type { AnyWorker } from '../../src/core/worker.ts'
import { type Exposure, exposureOf, MAX_DIRECT_TOOLS, refuseUnlessShown } from '../../src/surfaces/mcp/exposure.ts'
import type { ExtraTool } from '../../src/surfaces/mcp/extra-tools.ts'
import { createProbeWorker } from '../../src/testing/probe-worker.ts'
import { workers } from '../../src/workers/index.ts'
import { createLocalWorker } from '../fixtures/local-worker.ts'
import { callOf, type HttpFixture, httpFixture } from '../fixtures/mcp-http-fixture.ts'

/** A worker with many operations, of all effects in turn. */
function crowd(name: string, operations: number): AnyWorker {
  const base = createProbeWorker()
  const effects: readonly Effect[] = ['read', 'write', 'destroy']
  return {
    ...base,
    name,
    title: name,
    operations: Array.from({ length: operations }, (_, index) =>
      defineOperation({
        id: `${name}.act_${index}`,
        title: `Act ${index}`,
        summary: index === 17 ? 'Turns the lighthouse on.' : `Does thing number ${index}.`,
        effect: effects[index % 3] as Effect,
        idempotent: true,
        targeted: false,
        input: z.object({ value: z.string().default('').describe('a text') }),
        output: z.object({ value: z.string() }),
        errors: [],
        timeout: 30,
        examples: [{ title: 'nothing', input: {} }],
        run: async (_context, input) => ({ value: `${index}:${input.value}` }),
      }),
    ),
  }
}

const names = ({ tools }: Exposure) => tools.map(({ name }) => name)
const operationsOf = ({ tools }: Exposure) =>
  tools.flatMap(({ call }) => (call.kind === 'operation' ? [call.operation.id] : []))

const fixtures: HttpFixture[] = []
after(() => Promise.all(fixtures.map((each) => each.close())))
async function serve(options: Parameters<typeof httpFixture>[0]) {
  const fixture = await httpFixture(options)
  fixtures.push(fixture)
  return { fixture, client: await fixture.client('auto') }
}

const extra: ExtraTool = {
  name: 'worker_list',
  title: 'List workers',
  description: 'In the shape of another project.',
  effect: 'read',
  idempotent: true,
  openWorld: false,
  inputSchema: { type: 'object', properties: {}, additionalProperties: false },
  outputSchema: { type: 'object', properties: { count: { type: 'integer' } }, required: ['count'] },
  call: async (instance) => ({ count: instance.registry.workers.length }),
}
const writing: ExtraTool = { ...extra, name: 'worker_spawn', effect: 'write' }

describe('the profiles', () => {
  const many = createRegistry([crowd('alpha', 30), crowd('beta', 5), createProbeWorker()])

  test('as it is shipped, what is used most has a tool of its own, and everything else is called by its name', () => {
    const shipped = createRegistry(workers)
    const all = shipped.operations.map(({ id }) => id)
    const full = exposureOf(shipped, { profile: 'full' })
    assert.deepEqual(operationsOf(full), all)
    const exposure = exposureOf(shipped)
    assert.ok(exposure.tools.length <= MAX_DIRECT_TOOLS)
    assert.deepEqual(
      exposure.operations.map(({ id }) => id),
      all,
    )
    // What most calls are about has its own: no worker crowds out another one.
    const direct = operationsOf(exposure)
    for (const id of ['ssh.execute', 'ssh.sftp_transfer', 'terminal.snapshot', 'mqtt.publish', 'mqtt.subscribe']) {
      assert.ok(direct.includes(id), id)
    }
    for (const { name } of workers) assert.ok(direct.filter((id) => id.startsWith(`${name}.`)).length >= 4, name)
    // Each of the other calls has a tool, or is called by its name.
    const called = [...names(exposure), ...exposure.controls.map(({ name }) => name)]
    const others = full.tools.flatMap(({ name, call }) => (call.kind === 'operation' ? [] : [name]))
    assert.deepEqual(
      others.filter((name) => !called.includes(name)),
      [],
    )
  })

  test('default has at most 25 direct tools, and none of the workers is left out', () => {
    const exposure = exposureOf(many)
    assert.equal(exposure.tools.length, MAX_DIRECT_TOOLS)
    assert.ok(['operations_search', 'operation_call', 'read_more'].every((name) => names(exposure).includes(name)))
    const counts = ['alpha', 'beta', 'probe'].map(
      (worker) => operationsOf(exposure).filter((id) => id.startsWith(worker)).length,
    )
    assert.deepEqual(counts, [5, 5, 4])
    // What few need has no tool of its own then.
    assert.ok(exposure.controls.some(({ name }) => name === 'dlq_replay'))
    assert.ok(!names(exposure).some((name) => exposure.controls.some((control) => control.name === name)))
    assert.equal(exposure.operations.length, 39)
  })

  test('full has a tool for every operation', () => {
    const exposure = exposureOf(many, { profile: 'full' })
    assert.deepEqual(
      operationsOf(exposure),
      many.operations.map(({ id }) => id),
    )
  })

  test('upstream has the tools that it is given, which win over ours', () => {
    const exposure = exposureOf(many, { profile: 'upstream', extraTools: [extra, writing] })
    assert.equal(exposure.tools.length, MAX_DIRECT_TOOLS)
    assert.deepEqual(names(exposure).slice(0, 2), ['worker_list', 'worker_spawn'])
    assert.equal(exposure.tools.filter(({ name }) => name === 'worker_list').length, 1)
    assert.ok(!names(exposureOf(many, { extraTools: [writing] })).includes('worker_spawn'))
  })

  test('read-only has nothing that may change anything', () => {
    for (const profile of ['default', 'full', 'upstream'] as const) {
      const exposure = exposureOf(many, { profile, readOnly: true, extraTools: [extra, writing] })
      for (const { name, annotations } of exposure.tools) assert.equal(annotations.readOnlyHint, true, name)
      assert.ok(!names(exposure).includes('run_cancel'))
      assert.ok(exposure.operations.every(({ spec }) => spec.effect === 'read'))
    }
  })

  test('operation_call has the hints of the most that it may do', () => {
    const hintsOf = (exposure: Exposure) => exposure.tools.find(({ name }) => name === 'operation_call')?.annotations
    assert.equal(hintsOf(exposureOf(many))?.destructiveHint, true)
    const readers = createRegistry([crowd('alpha', 90)])
    assert.equal(hintsOf(exposureOf(readers, { readOnly: true }))?.readOnlyHint, true)
  })

  test('two tools of one name are a defect', () => {
    const twice = { profile: 'upstream', extraTools: [writing, writing] } as const
    assert.throws(() => exposureOf(many, twice), /two MCP tools would be called "worker_spawn"/)
  })

  test('their reviewed list is the one that is made from the declarations', () => {
    const reviewed = JSON.parse(readFileSync(inRoot('docs/reference/mcp-profiles.json'), 'utf8'))
    assert.deepEqual(reviewed.profiles.default, names(exposureOf(createRegistry(workers))))
  })
})

describe('operations without a tool of their own', () => {
  test('are found and called, through the same path as all others', async () => {
    const { fixture, client } = await serve({ workers: [createLocalWorker(), crowd('alpha', 30)] })
    const tools = (await client.listTools()).tools.map(({ name }) => name)
    assert.equal(tools.length, MAX_DIRECT_TOOLS)
    assert.ok(!tools.includes('alpha_act_17'))
    assert.match(client.getInstructions() ?? '', /operations_search/)

    const { data, text } = await callOf(client, 'operations_search', { query: 'lighthouse' })
    const [found] = data.operations as { operation: string; effect: string; input_schema: { properties: object } }[]
    assert.deepEqual([found?.operation, found?.effect], ['alpha.act_17', 'destroy'])
    assert.deepEqual(Object.keys(found?.input_schema.properties ?? {}), ['value'])
    assert.match(text, /^alpha\.act_17 \(destroy\): Act 17\. Turns the lighthouse on\./)

    const called = await callOf(client, 'operation_call', {
      operation: 'alpha.act_17',
      input: { value: 'on' },
      reason: 'r',
    })
    assert.deepEqual(called.data.data, { value: '17:on' })
    const { run } = await fixture.instance.control({
      name: 'run_get',
      input: { run_id: called.data.run_id },
      principal: { id: 'tester', kind: 'agent' },
    })
    assert.equal((run as { metadata: { reason?: string } }).metadata.reason, 'r')
  })

  test('are all found by an empty query, page by page', async () => {
    const { client } = await serve({ workers: [createLocalWorker(), crowd('alpha', 30)] })
    const seen: string[] = []
    for (let offset: number | null = 0; offset !== null; ) {
      const { data } = await callOf(client, 'operations_search', { offset })
      seen.push(...(data.operations as { operation: string }[]).map(({ operation }) => operation))
      offset = data.next as number | null
    }
    const ofTheServer = seen.filter((name) => !name.includes('.'))
    assert.ok(ofTheServer.includes('dlq_list'))
    assert.equal(new Set(seen).size, 36 + ofTheServer.length)
  })

  test('so are the calls about dead letters, which answer in their own shape', async () => {
    const { client } = await serve({ workers: [createLocalWorker(), crowd('alpha', 30)] })
    const { data } = await callOf(client, 'operations_search', { query: 'dead letters stats' })
    const found = (data.operations as { operation: string; example: Record<string, unknown> }[]).find(
      ({ operation }) => operation === 'dlq_stats',
    )
    assert.deepEqual(found?.example, { operation: 'dlq_stats', input: {} })
    assert.equal((await callOf(client, 'operation_call', { operation: 'dlq_stats' })).data.count, 0)
    const wrong = await callOf(client, 'operation_call', { operation: 'dlq_show', input: { letter_id: 'x' } })
    assert.match(wrong.text, /MHV_DLQ_UNKNOWN/)
  })

  test('are refused with our code where they do not exist or the call is wrong', async () => {
    const { client } = await serve({ workers: [createLocalWorker(), crowd('alpha', 30)] })
    const wrong: readonly (readonly [Record<string, unknown>, RegExp])[] = [
      [{ operation: 'alpha.act_99' }, /MHV_OPERATION_UNKNOWN/],
      [{ operation: 'alpha.act_17', inptu: {} }, /MHV_INPUT_INVALID: .*did you mean "input"/],
      [{ operation: 'alpha.act_17', input: { valeu: '' } }, /MHV_INPUT_INVALID: .*did you mean "value"/],
      [{ operation: 'probe.touch' }, /MHV_TARGET_REQUIRED/],
    ]
    for (const [args, expected] of wrong) {
      const { answer, text } = await callOf(client, 'operation_call', args)
      assert.equal(answer.isError, true)
      assert.match(text, expected)
    }
  })
})

describe('a server that only reads', () => {
  test('shows nothing that changes anything, and refuses it when it is called all the same', async () => {
    const { fixture, client } = await serve({ readOnly: true, workers: [createLocalWorker(), crowd('alpha', 90)] })
    const { tools } = await client.listTools()
    assert.ok(tools.every(({ annotations }) => annotations?.readOnlyHint === true))
    await assert.rejects(client.callTool({ name: 'probe_touch', arguments: { target: 'one' } }), /not found/)
    await assert.rejects(client.callTool({ name: 'run_cancel', arguments: { run_id: 'x' } }), /not found/)
    for (const operation of ['probe.touch', 'alpha.act_1', 'alpha.act_2']) {
      const { answer, text } = await callOf(client, 'operation_call', { operation, target: 'one' })
      assert.equal(answer.isError, true)
      assert.match(text, /^error MHV_POLICY_DENIED: this server only reads.*\nfix: .*--read-only/)
    }
    assert.equal(fixture.ledger.calls.length, 0)
    assert.deepEqual((await callOf(client, 'operation_call', { operation: 'alpha.act_0' })).data.data, { value: '0:' })
    const prompts = (await client.listPrompts()).prompts.map(({ name }) => name)
    assert.deepEqual(prompts, ['investigate_run', 'check_host'])
  })

  test('the second lock holds also for what would be shown', () => {
    assert.throws(() => refuseUnlessShown({ readOnly: true }, 'x', 'write'), /MHV_POLICY_DENIED|only reads/)
    assert.doesNotThrow(() => refuseUnlessShown({ readOnly: false }, 'x', 'destroy'))
  })
})

describe('tools of another module', () => {
  test('answer through the same server', async () => {
    const { client } = await serve({ profile: 'upstream', extraTools: [extra], workers: [createLocalWorker()] })
    assert.deepEqual((await callOf(client, 'worker_list', {})).data, { count: 2 })
  })
})
