/**
 * A client of MCP over HTTP that costs little: the same request over kept connections, answers compared byte by byte. The
 * official client would take longer than the servers do, and so hide them.
 */
import { Agent, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { closedLoop, type LoadResult } from '../harness/load.ts'
import { serveSide } from '../harness/side.ts'

/** What is sent. */
export interface McpHttpCall {
  readonly url: string
  readonly token: string
  readonly era: '2025-11-25' | '2026-07-28'
  readonly method: string
  readonly params: Readonly<Record<string, unknown>>
}

const META = 'io.modelcontextprotocol'

interface Sent {
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

function sentOf({ token, era, method, params }: McpHttpCall): Sent {
  const modern = era === '2026-07-28'
  const _meta = {
    [`${META}/protocolVersion`]: era,
    [`${META}/clientInfo`]: { name: 'mahavishnu-bench', version: '1' },
    [`${META}/clientCapabilities`]: {},
  }
  const asked = modern ? { ...params, _meta } : params
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: asked })
  const { name } = params
  return {
    body,
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'content-length': String(Buffer.byteLength(body)),
      accept: 'application/json, text/event-stream',
      'mcp-protocol-version': era,
      ...(modern ? { 'mcp-method': method } : {}),
      ...(modern && typeof name === 'string' ? { 'mcp-name': name } : {}),
    },
  }
}

const agent = new Agent({ keepAlive: true })

function post(url: string, { headers, body }: Sent): Promise<string> {
  return new Promise((resolve, reject) => {
    const asking = request(url, { method: 'POST', agent, headers }, (response) => {
      text(response).then((answer) => {
        if (response.statusCode === 200) resolve(answer)
        else reject(new Error(`HTTP ${response.statusCode}: ${answer}`))
      }, reject)
    })
    asking.once('error', reject)
    asking.end(body)
  })
}

/** The result in an answer, which is JSON or an event with JSON. */
function resultOf(answer: string): Record<string, unknown> {
  const json = answer.startsWith('{') ? answer : (/^data: (.*)$/m.exec(answer)?.[1] ?? '')
  const { result } = JSON.parse(json) as { result?: Record<string, unknown> }
  if (result === undefined || result.isError === true) throw new Error(`an error was answered: ${answer}`)
  return result
}

let sent: Sent | undefined
let address = ''
let expected = ''

const methods = {
  /** Makes a call once and remembers it with its answer. */
  async open(call: McpHttpCall): Promise<{ readonly bytes: number; readonly result: Record<string, unknown> }> {
    sent = sentOf(call)
    address = `${call.url}/mcp`
    expected = await post(address, sent)
    return { bytes: Buffer.byteLength(expected), result: resultOf(expected) }
  },
  /** Makes that call again, so many times; each must be answered with the same bytes. */
  load(load: { readonly count: number; readonly concurrency: number }): Promise<LoadResult> {
    const call = sent
    if (call === undefined) throw new Error('not open')
    return closedLoop(load, async () => {
      const answer = await post(address, call)
      if (answer !== expected) throw new Error(`another answer: ${answer.slice(0, 1_000)}`)
    })
  },
}

export type HttpCaller = typeof methods

serveSide(methods, async () => agent.destroy())
