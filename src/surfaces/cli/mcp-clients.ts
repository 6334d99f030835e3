/** How MCP clients are told of this server, each in its own file and form. */

export const MCP_CLIENTS = ['claude', 'cursor', 'vscode', 'codex'] as const
export type McpClient = (typeof MCP_CLIENTS)[number]

/** What a client starts, or where it connects. */
export type McpServerPlace = { readonly command: string; readonly args: readonly string[] } | { readonly url: string }

/** Variable that the client takes the token from. */
export const TOKEN_VARIABLE = 'MAHAVISHNU_TOKEN'

const NAME = 'mahavishnu'

interface ClientForm {
  /** Where it belongs, as the client's manual calls it. */
  readonly file: string
  render(place: McpServerPlace): string
  /** Whether it puts the value of a variable in the place of `${…}` in what it starts. None has a way to say `${`. */
  readonly expands: boolean
  /** How it comes by the token over HTTP. */
  readonly token: 'variable' | 'asks'
}

const json = (value: unknown) => JSON.stringify(value, null, 2)

/** The value of the header, with the client's own way to name a variable. */
const bearer = (reference: string) => ({ Authorization: `Bearer ${reference}` })

const FORMS: Readonly<Record<McpClient, ClientForm>> = {
  // https://code.claude.com/docs/en/mcp: `${VAR}` is expanded in `command`, `args`, `url`, `headers`.
  claude: {
    file: '.mcp.json in the project',
    expands: true,
    token: 'variable',
    render: (place) =>
      json({
        mcpServers: {
          [NAME]:
            'url' in place
              ? { type: 'http', url: place.url, headers: bearer(`\${${TOKEN_VARIABLE}}`) }
              : { type: 'stdio', command: place.command, args: place.args },
        },
      }),
  },
  // https://cursor.com/docs/context/mcp: `${env:VAR}` is expanded in `command`, `args`, `url`, `headers`.
  cursor: {
    file: '.cursor/mcp.json in the project, or ~/.cursor/mcp.json',
    expands: true,
    token: 'variable',
    render: (place) =>
      json({
        mcpServers: {
          [NAME]:
            'url' in place
              ? { url: place.url, headers: bearer(`\${env:${TOKEN_VARIABLE}}`) }
              : { type: 'stdio', command: place.command, args: place.args },
        },
      }),
  },
  // https://code.visualstudio.com/docs/copilot/reference/mcp-configuration: an input is asked for once, and kept safe.
  vscode: {
    file: '.vscode/mcp.json in the workspace',
    expands: true,
    token: 'asks',
    render: (place) =>
      json(
        'url' in place
          ? {
              inputs: [
                { type: 'promptString', id: `${NAME}-token`, description: 'Token of Mahavishnu', password: true },
              ],
              servers: { [NAME]: { type: 'http', url: place.url, headers: bearer(`\${input:${NAME}-token}`) } },
            }
          : { servers: { [NAME]: { type: 'stdio', command: place.command, args: place.args } } },
      ),
  },
  // https://developers.openai.com/codex/mcp
  codex: {
    file: '~/.codex/config.toml',
    expands: false,
    token: 'variable',
    render: (place) =>
      [
        `[mcp_servers.${NAME}]`,
        ...('url' in place
          ? [`url = ${tomlText(place.url)}`, `bearer_token_env_var = ${tomlText(TOKEN_VARIABLE)}`]
          : [`command = ${tomlText(place.command)}`, `args = [${place.args.map(tomlText).join(', ')}]`]),
      ].join('\n'),
  },
}

export function formOf(client: McpClient): ClientForm {
  return FORMS[client]
}

/** A basic string of TOML 1.0: the escapes of JSON are a part of its own; only DEL is not. */
function tomlText(text: string): string {
  return JSON.stringify(text).replaceAll('\x7f', '\\u007f')
}
