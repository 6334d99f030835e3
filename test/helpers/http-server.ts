/** A server on a temporary instance with the probe as its worker, and requests to it. */
import { rm, writeFile } from 'node:fs/promises'
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { text as readText } from 'node:stream/consumers'
import { type Composition, createInstances } from '../../src/app.ts'
import { httpSettingsSchema } from '../../src/config/schema.ts'
import type { Instance } from '../../src/runtime/instance.ts'
import type { HttpSettings } from '../../src/surfaces/http/app.ts'
import {
  createHttpServer,
  type HttpServer,
  type HttpServerParts,
  type Listening,
} from '../../src/surfaces/http/server.ts'
import { httpToken } from '../../src/surfaces/http/token.ts'
import { probeComposition, probeFolder } from './probe-composition.ts'

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly text: string
  /** The body, where it is JSON of some kind. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into answers of every shape
  readonly json: any
}

export interface Ask {
  readonly method?: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string | readonly string[]>>
  /** Text and bytes as they are; anything else as JSON. */
  readonly body?: unknown
  readonly signal?: AbortSignal
}

export interface TestServer {
  readonly instance: Instance
  readonly server: HttpServer
  readonly listening: Listening
  readonly folder: string
  readonly token: string
  readonly port: number
  /** With the token and the right Host, unless the headers say otherwise. */
  ask(request: Ask): Promise<Answer>
  /** The same, with the body left to be read. */
  open(request: Ask): Promise<IncomingMessage>
  call(operation: string, body: unknown, headers?: Ask['headers']): Promise<Answer>
  close(): Promise<void>
}

export interface ServerOptions {
  readonly settings?: Partial<HttpSettings>
  readonly composition?: Composition
  /** Settings file of the instance, after `version: 1`. */
  readonly file?: string
  readonly mount?: HttpServerParts['mount']
}

export async function startServer(options: ServerOptions = {}): Promise<TestServer> {
  const folder = await probeFolder()
  if (options.file !== undefined) {
    await writeFile(join(folder, 'settings', 'mahavishnu.yaml'), `version: 1\n${options.file}`)
  }
  const instance = await createInstances(options.composition ?? probeComposition()).open({ folder, doing: 'up' })
  const settings = { ...httpSettingsSchema.parse({}), port: 0, ...options.settings }
  const token = await httpToken(folder)
  const server = await createHttpServer({ instance, token, settings, version: '9.8.7', mount: options.mount })
  const listening = await server.listen()
  const port = Number(new URL(listening.url).port)
  const open = (request: Ask) =>
    openTcp(port, { ...request, headers: { authorization: `Bearer ${token.value}`, ...request.headers } })
  return {
    instance,
    server,
    listening,
    folder,
    token: token.value,
    port,
    open,
    ask: async (request) => answerOf(await open(request)),
    call: async (operation, body, headers = {}) => {
      const [worker, verb] = operation.split('.')
      const path = `/v1/workers/${worker}/operations/${verb}`
      return answerOf(await open({ method: 'POST', path, body, headers }))
    },
    async close() {
      server.drain()
      await instance.close()
      await server.close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

/** A request as it is written here: paths are not made tidy, and no header is added but Host and the body's. */
export function openTcp(
  port: number,
  { method = 'GET', path, headers = {}, body, signal }: Ask,
): Promise<IncomingMessage> {
  const raw = typeof body === 'string' || body instanceof Uint8Array
  const bytes = body === undefined ? undefined : Buffer.from(raw ? body : JSON.stringify(body))
  const type = bytes === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(bytes.length) }
  return new Promise((resolve, reject) => {
    const sent = httpRequest({
      host: '127.0.0.1',
      port,
      method,
      path,
      headers: { ...type, ...headers } as Record<string, string>,
      agent: false,
      ...(signal === undefined ? {} : { signal }),
    })
    sent.on('response', resolve)
    sent.on('error', reject)
    sent.end(bytes)
  })
}

export async function answerOf(answer: IncomingMessage): Promise<Answer> {
  const text = await readText(answer)
  const isJson = text !== '' && /json/.test(answer.headers['content-type'] ?? '')
  return { status: answer.statusCode ?? 0, headers: answer.headers, text, json: isJson ? JSON.parse(text) : undefined }
}

/** The events of a stream that ends, or as many as wanted. */
export async function eventsOf(
  stream: IncomingMessage,
  most = Number.POSITIVE_INFINITY,
): Promise<readonly { readonly event: string; readonly id: string; readonly data: Record<string, unknown> }[]> {
  const { readEvents } = await import('../../src/surfaces/http/event-stream.ts')
  const events = []
  for await (const { event, id, data } of readEvents(stream)) {
    events.push({ event, id, data: JSON.parse(data) })
    if (events.length >= most) break
  }
  return events
}
