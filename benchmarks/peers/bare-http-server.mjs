// @ts-check
/**
 * The peer of our MCP server over HTTP: fastify and the official SDK alone, with as many tools, the same schemas, and a
 * tool that answers with the same bytes. It asks nobody for a token and does no work. In plain JavaScript, as ours is
 * installed.
 *
 * The argument is a JSON file: `{ server, options, tools, answer }`, as our own server told them.
 */
import { readFileSync } from 'node:fs'
import { toNodeHandler } from '@modelcontextprotocol/node'
import { createMcpHandler, fromJsonSchema, McpServer } from '@modelcontextprotocol/server'
import { fastify } from 'fastify'

const { server: info, options, tools, answer } = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8'))

// Schemas are made once, as a program that cares would: what is left per request is what the SDK itself does.
const registrations = tools.map((/** @type {Record<string, any>} */ tool) => ({
  name: tool.name,
  config: {
    title: tool.title,
    description: tool.description,
    annotations: tool.annotations,
    inputSchema: fromJsonSchema(tool.inputSchema),
    outputSchema: fromJsonSchema(tool.outputSchema),
  },
}))

const handler = createMcpHandler(() => {
  const server = new McpServer(info, options)
  for (const { name, config } of registrations) server.registerTool(name, config, async () => answer)
  return server
})
const serve = toNodeHandler(handler)

const app = fastify({ logger: false, forceCloseConnections: true })
app.get('/readyz', async () => ({ status: 'ready' }))
await app.register(async (scope) => {
  scope.removeAllContentTypeParsers()
  scope.addContentTypeParser('*', (_request, _body, done) => done(null))
  scope.post('/mcp', async (request, reply) => {
    reply.hijack()
    await serve(request.raw, reply.raw)
  })
})
process.once('SIGTERM', () => process.exit(0))
const url = await app.listen({ host: '127.0.0.1', port: 0 })
process.stderr.write(`listening on ${url}\n`)
