// @ts-check
/**
 * The peer of our MCP server: the official SDK's own, over stdio, with one tool that does nothing. In plain JavaScript,
 * as ours is installed: stripping types takes memory.
 */
import { McpServer } from '@modelcontextprotocol/server'
import { serveStdio } from '@modelcontextprotocol/server/stdio'
import { z } from 'zod'

serveStdio(() => {
  const server = new McpServer({ name: 'bare', version: '1' })
  server.registerTool(
    'nothing',
    { description: 'Does nothing.', inputSchema: z.object({}), outputSchema: z.object({ ok: z.boolean() }) },
    async () => ({ content: [{ type: 'text', text: '{"ok":true}' }], structuredContent: { ok: true } }),
  )
  return server
})

// The SDK leaves the process running when its client has gone.
process.stdin.once('end', () => process.exit(0))
