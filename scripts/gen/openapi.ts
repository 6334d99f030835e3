import { ERROR_TABLE } from '../../src/core/error-table.ts'
import { createRegistry } from '../../src/core/registry.ts'
import { openApiDocument } from '../../src/surfaces/http/openapi.ts'
import { workers } from '../../src/workers/index.ts'
import type { Generator } from './generator.ts'
import { jsonText } from './names-json.ts'

/** The document as every version of the program serves it; the running one says its own version. */
const VERSION = '1'

function document() {
  return openApiDocument(createRegistry(workers), VERSION)
}

/** The OpenAPI document, for tools that make clients of it. */
export function renderOpenApi(): string {
  return jsonText(document())
}

interface Described {
  readonly summary: string
  readonly parameters?: readonly {
    readonly name: string
    readonly in: string
    readonly description?: string
    readonly schema: { readonly type?: string; readonly enum?: readonly string[]; readonly default?: unknown }
  }[]
  readonly responses: Readonly<Record<string, { readonly description: string }>>
}

const cell = (text: string) => text.replaceAll('|', '\\|').replaceAll('\n', ' ')

function routeSection(path: string, method: string, described: Described): string {
  const { summary, parameters = [], responses } = described
  const rows = parameters.map(({ name, in: where, description = '', schema }) => {
    const type = schema.enum?.map((each) => `\`${each}\``).join(' ') ?? schema.type ?? 'any'
    const given = schema.default === undefined ? '' : ` (default \`${JSON.stringify(schema.default)}\`)`
    return `| \`${name}\` | ${where} | ${cell(type)}${given} | ${cell(description)} |`
  })
  return [
    `## \`${method.toUpperCase()} ${path}\``,
    '',
    summary,
    '',
    ...(rows.length === 0 ? [] : ['| parameter | in | type | meaning |', '| --- | --- | --- | --- |', ...rows, '']),
    '| status | answer |',
    '| --- | --- |',
    ...Object.entries(responses).map(([status, { description }]) => `| ${status} | ${cell(description)} |`),
  ].join('\n')
}

/** Every route with its parameters and answers, for people. */
export function renderHttpPage(): string {
  const paths = document().paths as Readonly<Record<string, Readonly<Record<string, Described>>>>
  return [
    '<!-- Made by npm run gen from the declarations of the workers and the control calls. -->',
    '# HTTP',
    '',
    'Every route of `mahavishnu up`. The same for programs, with all schemas: [openapi.json](openapi.json). How to use',
    'them: [the guide](../guides/http.md). What an operation takes and answers: [operations](operations.md).',
    '',
    ...Object.entries(paths).flatMap(([path, item]) =>
      Object.entries(item).flatMap(([method, described]) => [routeSection(path, method, described), '']),
    ),
    '## Refusals of the surface itself',
    '',
    'All codes stand in [errors](errors.md); these are of this surface alone.',
    '',
    '| code | status | meaning | what to do |',
    '| --- | --- | --- | --- |',
    ...Object.entries(ERROR_TABLE).flatMap(([code, { http, summary, remedy }]) =>
      code.startsWith('MHV_HTTP_') ? [`| \`${code}\` | ${http} | ${cell(summary)} | ${cell(remedy)} |`] : [],
    ),
    '',
  ].join('\n')
}

export const generators: readonly Generator[] = [
  { path: 'docs/reference/openapi.json', render: renderOpenApi },
  { path: 'docs/reference/http.md', render: renderHttpPage },
]
