import { createRegistry } from '../../src/core/registry.ts'
import { type Tool, toolsOf } from '../../src/surfaces/mcp/tools.ts'
import { workers } from '../../src/workers/index.ts'
import type { Generator } from './generator.ts'
import { jsonText } from './names-json.ts'

const tools = () => toolsOf(createRegistry(workers))

/** The tools exactly as clients get them: reviewed, since agents depend on every word of it. */
export function renderToolSchemas(): string {
  return jsonText(tools().map(({ call: _call, ...published }) => published))
}

interface Property {
  readonly type?: string | readonly string[]
  readonly description?: string
  readonly default?: unknown
  readonly enum?: readonly unknown[]
}

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ')

function typeOf({ type, enum: choices }: Property): string {
  if (choices !== undefined) return choices.map((each) => `\`${each}\``).join(', ')
  if (type === undefined) return 'several'
  return typeof type === 'string' ? type : type.join(' or ')
}

function toolSection({ name, title, description, inputSchema, annotations }: Tool): string {
  const properties = Object.entries((inputSchema.properties ?? {}) as Record<string, Property>)
  const required = (inputSchema.required ?? []) as readonly string[]
  const rows = properties.map(([field, property]) => {
    const given = property.default === undefined ? '' : `\`${JSON.stringify(property.default)}\``
    const need = required.includes(field) ? 'required' : given
    return `| \`${field}\` | ${cell(typeOf(property))} | ${need} | ${cell(property.description ?? '')} |`
  })
  const hints = Object.entries(annotations).flatMap(([hint, value]) => (value === true ? `\`${hint}\`` : []))
  return [
    `## \`${name}\``,
    '',
    `**${title}.** ${description.split('\n\n').slice(0, 1).join(' ')}`,
    '',
    `Hints: ${hints.join(', ') || 'none'}.`,
    '',
    ...(rows.length === 0
      ? ['It has no arguments.']
      : ['| argument | type | default | meaning |', '| --- | --- | --- | --- |', ...rows]),
  ].join('\n')
}

export function renderToolsPage(): string {
  return [
    '<!-- Made by npm run gen from the declarations of the workers and the table of control calls. -->',
    '# MCP tools',
    '',
    'Every tool, with its arguments. The schemas as clients get them, those of the answers too, are in',
    '[mcp-tools.json](mcp-tools.json). How waiting, handles and cancelling work: [the guide](../guides/mcp.md).',
    '',
    tools().map(toolSection).join('\n\n'),
    '',
  ].join('\n')
}

export const generators: readonly Generator[] = [
  { path: 'docs/reference/mcp-tools.md', render: renderToolsPage },
  { path: 'docs/reference/mcp-tools.json', render: renderToolSchemas },
]
