import { Client } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { closedLoop, type LoadResult } from './load.ts'

/** A server that was started over stdio, and the official client at its other end. */
export interface McpServerUnderTest {
  readonly pid: number
  /** Calls a tool; throws where the answer is an error. The answer's structured content. */
  call(tool: string, input?: Readonly<Record<string, unknown>>): Promise<Record<string, unknown>>
  /** Calls a tool so many times, one after the other. */
  load(count: number, tool: string, input?: Readonly<Record<string, unknown>>): Promise<LoadResult>
  close(): Promise<void>
}

/** Starts a server, shakes hands, and asks for its tools, as every client does. */
export async function startMcpServer(command: readonly string[]): Promise<McpServerUnderTest> {
  const [program = '', ...args] = command
  const transport = new StdioClientTransport({ command: program, args, stderr: 'inherit' })
  const client = new Client({ name: 'mahavishnu-bench', version: '1' })
  await client.connect(transport)
  await client.listTools()

  async function call(name: string, input: Readonly<Record<string, unknown>> = {}): Promise<Record<string, unknown>> {
    const { isError, structuredContent, content } = await client.callTool({ name, arguments: { ...input } })
    if (isError) throw new Error(`${name}: ${JSON.stringify(content)}`)
    return structuredContent as Record<string, unknown>
  }

  return {
    pid: transport.pid ?? 0,
    call,
    load: (count, tool, input) =>
      closedLoop({ count, concurrency: 1 }, async () => {
        await call(tool, input)
      }),
    close: () => client.close(),
  }
}
