import { createRegistry, type RegisteredOperation } from '../../src/core/registry.ts'
import { exampleLine } from '../../src/surfaces/cli/example-line.ts'
import { operationSchemas } from '../../src/surfaces/json-schema.ts'
import { operationName } from '../../src/surfaces/names.ts'
import { workers } from '../../src/workers/index.ts'
import type { Generator } from './generator.ts'

interface Property {
  readonly type?: string | readonly string[]
  readonly description?: string
  readonly default?: unknown
  readonly anyOf?: readonly Property[]
  readonly properties?: Readonly<Record<string, Property>>
}

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ')

function typeOf({ type, anyOf }: Property): string {
  if (anyOf !== undefined) return anyOf.map(typeOf).join(' or ')
  if (type === undefined) return 'any'
  return typeof type === 'string' ? type : type.join(' or ')
}

function fieldRows(properties: Readonly<Record<string, Property>>, required: readonly string[]): readonly string[] {
  return Object.entries(properties).map(([field, property]) => {
    const given = property.default === undefined ? 'none' : `\`${JSON.stringify(property.default)}\``
    const need = required.includes(field) ? 'required' : given
    return `| \`${field}\` | ${cell(typeOf(property))} | ${need} | ${cell(property.description ?? '')} |`
  })
}

function operationSection(operation: RegisteredOperation): string {
  const { id, spec } = operation
  const { mcp, cli, http } = operationName(operation)
  const { input, output } = operationSchemas(operation)
  const data = ((output.properties as Record<string, Property>).data?.anyOf ?? []).find(
    (part) => part.type === 'object',
  )
  const timeout = typeof spec.timeout === 'number' ? `${spec.timeout} s` : 'a setting of the worker'
  return [
    `## \`${id}\``,
    '',
    spec.description === undefined ? spec.summary : `${spec.summary} ${spec.description}`,
    '',
    `- changes at most: \`${spec.effect}\`; doing it twice is ${spec.idempotent ? '' : 'not '}the same as doing it once`,
    `- deadline: ${timeout}`,
    `- MCP \`${mcp}\`, command line \`mahavishnu ${cli.join(' ')}\`, HTTP \`${http}\``,
    '',
    '| input | type | default | meaning |',
    '| --- | --- | --- | --- |',
    ...fieldRows((input.properties ?? {}) as Record<string, Property>, (input.required ?? []) as readonly string[]),
    '',
    '| `data` of the result | type | meaning |',
    '| --- | --- | --- |',
    ...Object.entries(data?.properties ?? {}).map(
      ([field, property]) => `| \`${field}\` | ${cell(typeOf(property))} | ${cell(property.description ?? '')} |`,
    ),
    '',
    'Examples:',
    '',
    '```sh',
    ...spec.examples.flatMap((example) => [`# ${example.title}`, exampleLine(operation, example)]),
    '```',
    '',
    `Errors of its own (see [errors](errors.md)): ${spec.errors.map((code) => `\`${code}\``).join(', ') || 'none'}.`,
  ].join('\n')
}

/** Every operation with its schema, names, examples and errors. */
export function renderOperationsPage(): string {
  const registry = createRegistry(workers)
  return [
    '<!-- Made by npm run gen from the declarations of the workers. -->',
    '# Operations',
    '',
    'Every operation answers with the same shape, a `WorkerResult`; its typed output stands in `data`.',
    '',
    registry.operations.map(operationSection).join('\n\n'),
    '',
  ].join('\n')
}

export const generators: readonly Generator[] = [{ path: 'docs/reference/operations.md', render: renderOperationsPage }]
