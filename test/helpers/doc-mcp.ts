import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import type { DocPlace } from './doc-place.ts'

interface ServerEntry {
  readonly command?: string
  readonly args?: readonly string[]
  readonly url?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** Clients name the list of servers differently. */
type Config = Partial<Record<'mcpServers' | 'servers', Readonly<Record<string, ServerEntry>>>>

/** Connects to each server of a client's configuration, as that client would. @returns what is wrong, or nothing */
export async function useMcpConfig(config: unknown, place: DocPlace): Promise<string> {
  const { mcpServers, servers = mcpServers } = config as Config
  const entries = Object.entries(servers ?? {})
  if (entries.length === 0) return 'names no server'
  for (const [name, entry] of entries) {
    const client = new Client({ name: 'docs', version: '1.0.0' })
    await client.connect(await transportOf(entry, place))
    const { tools } = await client.listTools()
    await client.close()
    if (!tools.some((tool) => tool.name === 'ssh_execute')) return `${name} does not offer ssh_execute`
  }
  return ''
}

async function transportOf({ command, args = [], url, headers = {} }: ServerEntry, place: DocPlace) {
  if (url === undefined) {
    if (command === undefined) throw new Error('neither command nor url')
    const env = Object.fromEntries(Object.entries(place.env).map(([key, value]) => [key, value ?? '']))
    return new StdioClientTransport({ command, args: [...args], env, cwd: place.work, stderr: 'ignore' })
  }
  const token = (await readFile(join(place.instance, 'http.token'), 'utf8')).trim()
  // Clients fill in `${env:NAME}`, `${NAME}` or an input of theirs: all of them stand for the token.
  const filled = Object.entries(headers).map(([key, value]) => [
    key,
    value.replace(/\bTOKEN\b|\$\{[\w:-]+\}/, () => token),
  ])
  return new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: Object.fromEntries(filled) } })
}
