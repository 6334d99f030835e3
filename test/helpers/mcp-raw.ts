/** A client of MCP over stdio that knows nothing but lines of JSON, for tests of the wire itself. */
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { startProgram } from './mcp-cli-fixture.ts'

interface Message {
  readonly jsonrpc: string
  readonly id?: number
  readonly method?: string
  readonly params?: Record<string, unknown>
  readonly result?: Record<string, unknown>
  readonly error?: { readonly code: number; readonly message: string }
}

export interface RawClient {
  readonly child: ReturnType<typeof startProgram>
  /** Every line of standard output, as it came. */
  readonly lines: readonly string[]
  stderr(): string
  /** Resolves with the answer. */
  request(method: string, params?: Record<string, unknown>): Promise<Message>
  call(
    name: string,
    args: Record<string, unknown>,
  ): Promise<{ isError?: boolean; text: string; structured: Record<string, unknown> }>
  send(message: Record<string, unknown>): void
  /** Resolves when the process has ended, with its exit code or signal. */
  ended(): Promise<number | string | null>
}

/** Starts a server and opens a connection of the 2025 era. */
export async function rawClient(folder: string, ...args: string[]): Promise<RawClient> {
  const child = startProgram(['mcp', '--folder', folder, ...args])
  const closed = once(child, 'close')
  const lines: string[] = []
  const waiting = new Map<number, PromiseWithResolvers<Message>>()
  let stderr = ''
  let lastId = 0
  child.stdin.on('error', () => undefined)
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line)
    const message = JSON.parse(line) as Message
    if (message.id !== undefined) waiting.get(message.id)?.resolve(message)
  })
  void closed.then(() => {
    for (const { reject } of waiting.values()) reject(new Error(`the server has ended: ${stderr}`))
  })

  const send = (message: Record<string, unknown>) =>
    child.stdin.write(`${JSON.stringify({ jsonrpc: '2.0', ...message })}\n`)
  function request(method: string, params: Record<string, unknown> = {}): Promise<Message> {
    const id = ++lastId
    const answer = Promise.withResolvers<Message>()
    answer.promise.catch(() => undefined)
    waiting.set(id, answer)
    send({ id, method, params })
    return answer.promise
  }

  const clientInfo = { name: 'raw', version: '1' }
  await request('initialize', { protocolVersion: '2025-06-18', capabilities: {}, clientInfo })
  send({ method: 'notifications/initialized' })
  return {
    child,
    lines,
    stderr: () => stderr,
    request,
    async call(name, given) {
      const { result } = await request('tools/call', { name, arguments: given })
      const [first] = (result?.content ?? []) as readonly { text: string }[]
      const structured = (result?.structuredContent ?? {}) as Record<string, unknown>
      return { isError: result?.isError as boolean | undefined, text: first?.text ?? '', structured }
    },
    send,
    async ended() {
      const [code, signal] = await closed
      return code ?? signal
    },
  }
}
