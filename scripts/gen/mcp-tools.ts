import { createRegistry } from '../../src/core/registry.ts'
import { exposureOf } from '../../src/surfaces/mcp/exposure.ts'
import { extraTool } from '../../src/surfaces/mcp/extra-tools.ts'
import { ownTool } from '../../src/surfaces/mcp/own-tools.ts'
import { type Tool, toolsOf } from '../../src/surfaces/mcp/tools.ts'
import { upstreamTools } from '../../src/surfaces/mcp/upstream.ts'
import { workers } from '../../src/workers/index.ts'
import type { Generator } from './generator.ts'
import { jsonText } from './names-json.ts'

const tools = () => toolsOf(createRegistry(workers))

/** The tools of the surface alone, which stand for no operation and no control call. */
const ownTools = () => {
  const { operations } = createRegistry(workers)
  return (['read_more', 'operations_search', 'operation_call'] as const).map((name) => ownTool(name, operations))
}

const publishedOf = ({ call: _call, ...published }: Tool) => published

/** The tools exactly as clients get them: reviewed, since agents depend on every word of it. */
export function renderToolSchemas(): string {
  return jsonText(tools().map(publishedOf))
}

/** Which tools a client sees in each profile, and the schemas of those that are this surface's own. */
export function renderProfiles(): string {
  const registry = createRegistry(workers)
  const names = (options: Parameters<typeof exposureOf>[1]) =>
    exposureOf(registry, options).tools.map(({ name }) => name)
  const readOnly = true
  return jsonText({
    profiles: { default: names({}), full: names({ profile: 'full' }), upstream: names({ profile: 'upstream' }) },
    read_only: {
      default: names({ readOnly }),
      full: names({ profile: 'full', readOnly }),
      upstream: names({ profile: 'upstream', readOnly }),
    },
    own_tools: ownTools().map(publishedOf),
    upstream_tools: upstreamTools.map(extraTool).map(publishedOf),
  })
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
    'Which of them a client sees in which profile: [mcp-profiles.json](mcp-profiles.json).',
    '',
    [...tools(), ...ownTools()].map(toolSection).join('\n\n'),
    '',
  ].join('\n')
}

export const generators: readonly Generator[] = [
  { path: 'docs/reference/mcp-tools.md', render: renderToolsPage },
  { path: 'docs/reference/mcp-tools.json', render: renderToolSchemas },
  { path: 'docs/reference/mcp-profiles.json', render: renderProfiles },
]
