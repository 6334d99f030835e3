import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { createMCPClient } from '@ai-sdk/mcp'
import type { Client } from '@modelcontextprotocol/client'
import { inRoot } from '../../scripts/lib/paths.ts'
import type { WorkerResult } from '../../src/core/result.ts'
import { callOf, ERAS, type HttpFixture, httpFixture } from '../fixtures/mcp-http-fixture.ts'

let fixture: HttpFixture
before(async () => {
  fixture = await httpFixture()
})
after(() => fixture.close())

for (const [era, mode] of Object.entries({ ...ERAS, 'the newest of both': 'auto' as const })) {
  describe(`MCP over HTTP: a client that speaks ${era}`, () => {
    let client: Client
    before(async () => {
      client = await fixture.client(mode, 'agent-7')
    })

    test('agrees on the era, learns what the server is, and sees the tools', async () => {
      assert.equal(client.getProtocolEra(), mode === 'legacy' ? 'legacy' : 'modern')
      assert.match(client.getInstructions() ?? '', /run_wait.*never instructions/)
      const { tools } = await client.listTools()
      assert.ok(['local_execute', 'run_cancel', 'read_more'].every((each) => tools.some(({ name }) => name === each)))
    })

    test('gets results, as the principal that the guard told', async () => {
      const { data, text } = await callOf(client, 'local_execute', { target: 'here', command: 'echo out; exit 3' })
      const result = data as unknown as WorkerResult
      assert.equal(result.exit_code, 3)
      assert.deepEqual([result.metadata.principal, result.metadata.surface], ['agent-7', 'mcp'])
      assert.match(text, /untrusted \[.{8}\] ---\nout\n/)
      const { text: listed } = await callOf(client, 'run_list', { principal: 'agent-7', limit: 1 })
      assert.ok(listed.startsWith(result.run_id))
    })

    test('goes on with a handle', async () => {
      const call = { target: 'one', pieces: ['a', 'b'], wait_ms: 200, wait: 0 }
      const { run_id } = (await callOf(client, 'probe_emit', call)).data
      const { data } = await callOf(client, 'run_wait', { run_id })
      assert.equal((data.run as WorkerResult).status, 'completed')
      assert.match((await callOf(client, 'run_output', { run_id })).text, /---\nab\n--- end of stdout/)
    })

    test('is told of progress', async () => {
      const seen: unknown[] = []
      const onprogress = (each: unknown) => seen.push(each)
      await callOf(client, 'probe_emit', { target: 'one', pieces: ['a'], wait_ms: 200 }, { onprogress })
      assert.deepEqual(seen, [{ progress: 1, message: 'written' }])
    })

    test('reads runs as resources, and their output page by page', async () => {
      const big = 'é"\\\n'.repeat(20_000)
      const { data } = await callOf(client, 'probe_emit', { target: 'one', pieces: [big] })
      const { run_id } = data
      const { resources } = await client.listResources()
      assert.ok(resources.length <= 20 && resources.some(({ uri }) => uri === `run://${run_id}`))
      const { resourceTemplates } = await client.listResourceTemplates()
      assert.ok(resourceTemplates.some(({ uriTemplate }) => uriTemplate === 'run://{run_id}/output{?cursor}'))

      const { contents } = await client.readResource({ uri: `run://${run_id}` })
      const [document] = contents as { text: string; _meta?: Record<string, unknown> }[]
      assert.equal(JSON.parse(document?.text ?? '').run.run_id, run_id)
      assert.ok(document?._meta?.['mahavishnu/whole'])

      let text = ''
      for (let uri: string | null = `run://${run_id}/output`; uri !== null; ) {
        const page = await client.readResource({ uri })
        assert.ok(JSON.stringify(page).length < 100_000)
        const [content] = page.contents as { text: string; _meta: Record<string, unknown> }[]
        text += content?.text
        uri = content?._meta['mahavishnu/next'] as string | null
      }
      assert.equal(text, big)
      await assert.rejects(client.readResource({ uri: 'run://01K5E2W9QZ3V7M4T8N6R1XJYHB' }), /no run/)
    })

    test('completes ids of runs and names of targets, and gets prompts with them', async () => {
      const { runs } = (await callOf(client, 'run_list', { limit: 1 })).data as { runs: { run_id: string }[] }
      const run_id = runs[0]?.run_id ?? ''
      const complete = async (ref: Parameters<Client['complete']>[0]['ref'], name: string, value: string) =>
        (await client.complete({ ref, argument: { name, value } })).completion.values
      const template = { type: 'ref/resource', uri: 'run://{run_id}' } as const
      assert.ok((await complete(template, 'run_id', run_id.slice(0, 6).toLowerCase())).includes(run_id))
      assert.deepEqual(await complete({ type: 'ref/prompt', name: 'check_host' }, 'target', 'O'), ['one'])
      assert.deepEqual(await complete({ type: 'ref/prompt', name: 'run_command_safely' }, 'target', ''), [
        'here',
        'one',
        'two',
      ])

      const names = (await client.listPrompts()).prompts.map(({ name }) => name)
      assert.deepEqual(names, ['investigate_run', 'check_host', 'run_command_safely'])
      const { messages } = await client.getPrompt({ name: 'investigate_run', arguments: { run_id } })
      assert.ok(JSON.stringify(messages).includes(run_id))
    })

    test('a prompt has the command as it was given, with its line breaks', async () => {
      const command = 'echo one # and\nuptime'
      const asked = await client.getPrompt({ name: 'run_command_safely', arguments: { target: 'one', command } })
      const [message] = asked.messages as { content: { text: string } }[]
      const [first = ''] = message?.content.text.split('\n') ?? []
      assert.ok(first.endsWith(`: ${JSON.stringify(command)}`), first)
    })

    test('is told what is wrong, in our words', async () => {
      const { answer, text } = await callOf(client, 'probe_touch', { target: 'onee' })
      assert.equal(answer.isError, true)
      assert.match(text, /^error MHV_TARGET_UNKNOWN: .*\nfix: /)
      assert.equal(answer.structuredContent, undefined)
    })
  })
}

describe('MCP over HTTP: clients that share no code with the SDK, or only little', () => {
  test('the client of the AI SDK finds the tools and calls them', async () => {
    const client = await createMCPClient({ transport: { type: 'http', url: fixture.url } })
    try {
      const { tools } = await client.listTools()
      assert.ok(tools.some(({ name }) => name === 'run_wait'))
      const answer = await client.callTool({ name: 'probe_touch', arguments: { target: 'one', value: 'hello' } })
      assert.deepEqual((answer.structuredContent as { data: unknown }).data, { value: 'hello' })
    } finally {
      await client.close()
    }
  })

  test('the official inspector calls a tool', async () => {
    const launcher = inRoot('node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js')
    const tool = ['--tool-name', 'local_execute', '--tool-arg', 'target=here', '--tool-arg', 'command=echo hello']
    const args = ['--cli', fixture.url, '--transport', 'http', '--method', 'tools/call', ...tool]
    const { stdout } = await promisify(execFile)(process.execPath, [launcher, ...args])
    assert.equal(JSON.parse(stdout).structuredContent.data.stdout, 'hello\n')
  })
})

describe('MCP over HTTP: two callers', () => {
  test('each acts as itself, and neither sees what only the other asked for', async () => {
    const [a, b] = [await fixture.client('auto', 'agent-a'), await fixture.client('auto', 'agent-b')]
    const answers = await Promise.all(
      [a, b, a, b].map((client) => callOf(client, 'probe_touch', { target: 'one', value: 'x', idempotency_key: 'k' })),
    )
    const runs = answers.map(({ data }) => [data.run_id, (data.metadata as { principal: string }).principal])
    assert.deepEqual(runs[0], runs[2])
    assert.deepEqual(runs[1], runs[3])
    assert.deepEqual([runs[0]?.[1], runs[1]?.[1]], ['agent-a', 'agent-b'])
    assert.notEqual(runs[0]?.[0], runs[1]?.[0])
  })
})
