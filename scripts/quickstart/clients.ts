import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { Client } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { inRoot } from '../lib/paths.ts'

const bin = inRoot('bin/mahavishnu.cjs')

/** Calls a tool; resolves with its `structuredContent`. Throws with the tool's words where there is none. */
export type CallTool = (name: string, input: Readonly<Record<string, unknown>>) => Promise<Record<string, unknown>>

/** Starts `mahavishnu mcp` and talks to it over stdio, as an MCP client does, for as long as `use` takes. */
export async function withMcp<T>(
  folder: string,
  use: (call: CallTool, toolNames: readonly string[]) => Promise<T>,
): Promise<T> {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [bin, 'mcp', '--folder', folder],
    stderr: 'inherit',
  })
  const client = new Client({ name: 'quickstart', version: '1.0.0' })
  await client.connect(transport)
  try {
    const { tools } = await client.listTools()
    const call: CallTool = async (name, input) => {
      const answer = await client.callTool({ name, arguments: { ...input } })
      if (answer.isError || answer.structuredContent === undefined)
        throw new Error(`${name} failed: ${JSON.stringify(answer.content)}`)
      return answer.structuredContent as Record<string, unknown>
    }
    return await use(
      call,
      tools.map(({ name }) => name),
    )
  } finally {
    await client.close()
  }
}

/** Standard output of a command of the program. Throws when it ends with another code than 0. */
export async function cli(folder: string, ...args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [bin, ...args, '--folder', folder])
  return stdout
}
