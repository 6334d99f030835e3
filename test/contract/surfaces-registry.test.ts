import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { inRoot } from '../../scripts/lib/paths.ts'
import { EFFECTS, mayHaveTarget, needsTarget } from '../../src/core/operation.ts'
import { createRegistry, type Registry } from '../../src/core/registry.ts'
import { CONTROL_CALLS } from '../../src/runtime/control.ts'
import { buildProgram } from '../../src/surfaces/cli/program.ts'
import { type Tool, toolsOf } from '../../src/surfaces/mcp/tools.ts'
import { flagOf, nameTable } from '../../src/surfaces/names.ts'
import { createProbeWorker } from '../../src/testing/probe-worker.ts'
import { workers } from '../../src/workers/index.ts'
import { createLocalWorker } from '../fixtures/local-worker.ts'

const shipped = createRegistry(workers)

/** The reviewed files, as text. */
const reference = {
  cli: readFileSync(inRoot('docs/reference/cli.md'), 'utf8'),
  operations: readFileSync(inRoot('docs/reference/operations.md'), 'utf8'),
  tools: JSON.parse(readFileSync(inRoot('docs/reference/mcp-tools.json'), 'utf8')) as readonly Omit<Tool, 'call'>[],
}

/** What a command does with the terminal that it is called on is nothing that another surface could do. */
const ON_THE_TERMINAL = ['--detach-key', '--speed', '--idle']

interface Surfaces {
  readonly tools: readonly Omit<Tool, 'call'>[]
  /** Long options of each command: `ssh execute` → `--command`, … */
  readonly commands: ReadonlyMap<string, readonly string[]>
}

function surfacesOf(registry: Registry): Surfaces {
  const program = buildProgram({ registry, version: '', rest: null, found: () => undefined })
  const commands = program.commands.flatMap((noun) =>
    noun.commands.map((verb) => {
      const options = verb.options.map(({ long }) => (long ?? '').replace(/^--no-/, '--'))
      return [`${noun.name()} ${verb.name()}`, options] as const
    }),
  )
  return { tools: toolsOf(registry), commands: new Map(commands) }
}

/** Everything that is missing, or differs, on a surface: nothing where all is well. */
function gaps(registry: Registry, surfaces: Surfaces): readonly string[] {
  const calls = [
    ...registry.operations.map(({ id, spec }) => ({
      id,
      shape: spec.input.shape,
      argument: spec.cli?.argument ?? 'target',
      stdin: spec.cli?.stdin,
    })),
    ...CONTROL_CALLS.map(({ name, input, argument }) => ({ id: name, shape: input.shape, argument, stdin: undefined })),
  ]
  const names = nameTable(registry)
  return calls.flatMap(({ id, shape, argument, stdin }) => {
    const name = names.find((each) => each.id === id)
    const tool = surfaces.tools.find((each) => each.name === name?.mcp)
    const options = surfaces.commands.get(name?.cli.join(' ') ?? '')
    if (tool === undefined) return [`${id} is no MCP tool`]
    if (options === undefined) return [`${id} is no command`]
    const properties = Object.keys((tool.inputSchema.properties ?? {}) as object)
    return Object.keys(shape).flatMap((field) => [
      ...(properties.includes(field) ? [] : [`${id}: "${field}" is no argument of the MCP tool`]),
      ...(options.includes(flagOf(field)) || field === argument || field === stdin
        ? []
        : [`${id}: "${field}" is no option of the command`]),
    ])
  })
}

function referenceGaps(registry: Registry): readonly string[] {
  return nameTable(registry).flatMap(({ kind, id, mcp, cli }) => [
    ...(reference.cli.includes(`\`mahavishnu ${cli.join(' ')}`) ? [] : [`${id} is not in cli.md`]),
    ...(reference.tools.some(({ name }) => name === mcp) ? [] : [`${id} is not in mcp-tools.json`]),
    ...(kind === 'control' || reference.operations.includes(`## \`${id}\``) ? [] : [`${id} is not in operations.md`]),
  ])
}

describe('CORE-05: every operation is on every surface and in the reference', () => {
  test('the operations that are shipped are', () => {
    assert.deepEqual(gaps(shipped, surfacesOf(shipped)), [])
    assert.deepEqual(referenceGaps(shipped), [])
  })

  test('an operation of another worker is on every surface without a line of code', () => {
    const registry = createRegistry([...workers, createProbeWorker(), createLocalWorker()])
    assert.deepEqual(gaps(registry, surfacesOf(registry)), [])
  })

  test('the tools are the reviewed ones, word for word', () => {
    const now = toolsOf(shipped).map(({ call: _call, ...published }) => published)
    assert.deepEqual(JSON.parse(JSON.stringify(now)), reference.tools)
  })

  test('both surfaces have the same fields, with the same meaning', () => {
    const registry = createRegistry([...workers, createProbeWorker(), createLocalWorker()])
    const { commands } = surfacesOf(registry)
    for (const { name, cli, kind } of nameTable(registry).map((each) => ({ ...each, name: each.mcp }))) {
      const tool = toolsOf(registry).find((each) => each.name === name)
      const known = new Set([
        '--folder',
        '--set',
        '--json',
        '--quiet',
        '--help',
        '--stdin',
        '--yes',
        ...ON_THE_TERMINAL,
      ])
      const fields = (commands.get(cli.join(' ')) ?? []).filter((flag) => !known.has(flag))
      const properties = Object.keys((tool?.inputSchema.properties ?? {}) as object).map(flagOf)
      const extra = fields.filter((flag) => !properties.includes(flag))
      assert.deepEqual(extra, [], `${kind} ${name}`)
    }
  })

  test('negative control: an operation that is missing somewhere is found', () => {
    const registry = createRegistry([...workers, createProbeWorker()])
    const without = surfacesOf(shipped)
    assert.deepEqual(gaps(registry, without).slice(0, 1), ['probe.look is no MCP tool'])
    assert.deepEqual(referenceGaps(registry).slice(0, 3), [
      'probe.look is not in cli.md',
      'probe.look is not in mcp-tools.json',
      'probe.look is not in operations.md',
    ])
  })

  test('negative control: a field that is missing somewhere is found', () => {
    const registry = createRegistry([createProbeWorker()])
    const { tools, commands } = surfacesOf(registry)
    const [look, ...others] = tools
    assert.ok(look)
    const { value: _value, ...properties } = look.inputSchema.properties as Record<string, unknown>
    const poorer = [{ ...look, inputSchema: { ...look.inputSchema, properties } }, ...others]
    assert.deepEqual(gaps(registry, { tools: poorer, commands }), [
      'probe.look: "value" is no argument of the MCP tool',
    ])
    const fewer = new Map([...commands, ['probe look', ['--json']]])
    assert.deepEqual(gaps(registry, { tools, commands: fewer }), ['probe.look: "value" is no option of the command'])
  })
})

describe('the tools', () => {
  const registry = createRegistry([...workers, createProbeWorker(), createLocalWorker()])

  test('have hints that follow the most an operation may change', () => {
    for (const { spec, id } of registry.operations) {
      const tool = toolsOf(registry).find((each) => each.call.kind === 'operation' && each.call.operation.id === id)
      assert.equal(tool?.annotations.readOnlyHint, spec.effect === EFFECTS[0], id)
      assert.equal(tool?.annotations.destructiveHint, spec.effect === EFFECTS[2], id)
      assert.equal(tool?.annotations.idempotentHint, spec.idempotent, id)
    }
  })

  test('need a target where the operation does, and have none where it does not', () => {
    for (const { spec, id } of registry.operations) {
      const tool = toolsOf(registry).find((each) => each.call.kind === 'operation' && each.call.operation.id === id)
      const required = (tool?.inputSchema.required ?? []) as readonly string[]
      const properties = (tool?.inputSchema.properties ?? {}) as Record<string, unknown>
      assert.equal(required.includes('target'), needsTarget(spec), id)
      assert.equal('target' in properties, mayHaveTarget(spec), id)
    }
  })

  test('are made of objects, refuse unknown arguments, and describe each of theirs', () => {
    for (const { name, inputSchema, outputSchema, description } of toolsOf(createRegistry(workers))) {
      assert.equal(inputSchema.type, 'object', name)
      assert.equal(inputSchema.additionalProperties, false, name)
      assert.equal(outputSchema.type, 'object', name)
      assert.ok(description.length > 20, name)
    }
  })

  test('of an operation describe every argument', () => {
    for (const { name, inputSchema, call } of toolsOf(shipped)) {
      if (call.kind === 'control') continue
      for (const [field, property] of Object.entries(
        (inputSchema.properties ?? {}) as Record<string, { description?: string }>,
      )) {
        assert.ok(property.description, `${name}: ${field}`)
      }
    }
  })
})
