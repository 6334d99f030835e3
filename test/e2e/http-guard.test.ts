import assert from 'node:assert/strict'
import { chmod, readFile, stat, symlink, unlink, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { text as readText } from 'node:stream/consumers'
import { after, before, describe, test } from 'node:test'
import { httpSettingsSchema } from '../../src/config/schema.ts'
import { systemClock } from '../../src/core/clock.ts'
import { guarded } from '../../src/surfaces/http/access.ts'
import { createHttpApp, type HttpAppParts } from '../../src/surfaces/http/app.ts'
import type { Access } from '../../src/surfaces/http/caller.ts'
import { rulesFor } from '../../src/surfaces/http/guard.ts'
import { mcpRoute } from '../../src/surfaces/http/mcp-route.ts'
import { createHttpMetrics } from '../../src/surfaces/http/metrics.ts'
import { createFollowers } from '../../src/surfaces/http/run-events.ts'
import { httpToken, tokenFile } from '../../src/surfaces/http/token.ts'
import { answerOf, openTcp, startServer, type TestServer } from '../helpers/http-server.ts'

let server: TestServer
const PROBES = ['/healthz', '/readyz']

before(async () => {
  server = await startServer({ settings: { rate_limit_burst: 100_000, rate_limit_per_second: 100_000 } })
})
after(() => server.close())

interface Route {
  readonly method: string
  readonly url: string
}

interface Composed {
  readonly routes: readonly Route[]
  readonly port: number
  close(): Promise<void>
}

/** The application as the server composes it, with any access, and every route that the framework was given. */
async function compose(access: (port: () => number) => Access): Promise<Composed> {
  const { instance } = server
  const metrics = createHttpMetrics(instance)
  const routes: Route[] = []
  let port = 0
  const settings = httpSettingsSchema.parse({})
  const parts: Omit<HttpAppParts, 'access'> = {
    instance,
    settings,
    version: '1',
    clock: systemClock,
    metrics,
    draining: () => false,
    followers: createFollowers(10),
    via: 'tcp',
    mount: mcpRoute(instance, '1', settings),
  }
  const collect: Access = async (app) => {
    app.addHook('onRoute', ({ method, url }) => {
      for (const each of [method].flat()) routes.push({ method: each, url })
    })
    await access(() => port)(app)
  }
  const { app } = await createHttpApp({ ...parts, access: collect })
  await app.listen({ host: '127.0.0.1', port: 0 })
  const address = app.server.address()
  port = typeof address === 'object' && address !== null ? address.port : 0
  return {
    routes,
    port,
    async close() {
      await app.close()
      metrics.close()
    },
  }
}

const withGuard = (port: () => number): Access =>
  guarded(
    () =>
      rulesFor(
        { host: '127.0.0.1', port: port() },
        { name: 'default', value: server.token },
        { allowed_hosts: ['ops.example.com'], allowed_origins: ['https://ops.example.com'] },
      ),
    { rate_limit_per_second: 100_000, rate_limit_burst: 100_000 },
  )

const withoutGuard = (): Access => (app) => {
  app.addHook('onRequest', async (request) => {
    request.caller = { principal: { id: 'user:0', kind: 'user' }, surface: 'http' }
  })
}

const pathOf = (url: string) =>
  url.replace(':worker', 'probe').replace(':operation', 'look').replace(':run_id', '01K5E2W9QZ3V7M4T8N6R1XJYHB')

const NO_ROUTES: readonly Route[] = [
  { method: 'GET', url: '/' },
  { method: 'POST', url: '/v1/unknown' },
  { method: 'GET', url: '/v1/%zz' },
  { method: 'GET', url: '/v1/runs/%00' },
  { method: 'PROPFIND', url: '/v1/runs' },
  { method: 'OPTIONS', url: '/v1/runs' },
  { method: 'HEAD', url: '/v1/runs' },
  { method: 'GET', url: 'http://evil.example/v1/runs' },
  { method: 'GET', url: '//healthz/../metrics' },
  { method: 'GET', url: '/healthz/../metrics' },
  { method: 'GET', url: `/v1/runs/${'x'.repeat(5_000)}` },
]

/** Heads that must open nothing, and the status that says why. */
function wrongHeads(port: number, token: string) {
  const right = `127.0.0.1:${port}`
  const bearer = `Bearer ${token}`
  return [
    { why: 'no token', status: 401, headers: { host: right } },
    { why: 'an empty token', status: 401, headers: { host: right, authorization: 'Bearer ' } },
    { why: 'a wrong token', status: 401, headers: { host: right, authorization: `Bearer ${token}x` } },
    { why: 'half of the token', status: 401, headers: { host: right, authorization: `Bearer ${token.slice(0, 20)}` } },
    { why: 'another scheme', status: 401, headers: { host: right, authorization: `Basic ${token}` } },
    { why: 'a wrong Host', status: 421, headers: { host: 'evil.example', authorization: bearer } },
    { why: 'a wrong port', status: 421, headers: { host: `127.0.0.1:${port + 1}`, authorization: bearer } },
    { why: 'the name without port', status: 421, headers: { host: '127.0.0.1', authorization: bearer } },
    {
      why: 'a wrong Origin',
      status: 403,
      headers: { host: right, origin: 'https://evil.example', authorization: bearer },
    },
    { why: 'the Origin null', status: 403, headers: { host: right, origin: 'null', authorization: bearer } },
  ] as const
}

/** What a composition serves to heads that must open nothing. */
async function served({ routes, port }: Composed): Promise<readonly string[]> {
  const found: string[] = []
  for (const { method, url } of [...routes, ...NO_ROUTES]) {
    if (PROBES.includes(url)) continue
    for (const { why, status, headers } of wrongHeads(port, server.token)) {
      const body = method === 'POST' ? { body: {} } : {}
      const answer = await answerOf(await openTcp(port, { method, path: pathOf(url), headers, ...body }))
      const says = method === 'HEAD' ? status : answer.json?.status
      if (answer.status !== status || says !== status)
        found.push(`${method} ${url.slice(0, 60)} with ${why}: ${answer.status}`)
    }
  }
  return found
}

/** The first line of what comes back for these bytes. */
async function rawAnswer(port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  socket.end(bytes)
  return (await readText(socket)).split('\r\n')[0] ?? ''
}

describe('MCP-02: nothing but the two probes is served over HTTP without a valid token, Host and Origin', () => {
  test('every route of the framework’s own table, and what is no route', async () => {
    const composed = await compose(withGuard)
    try {
      const urls = composed.routes.map(({ url }) => url)
      for (const url of ['/mcp', '/metrics', '/openapi.json', '/v1/runs/:run_id/events', ...PROBES]) {
        assert.ok(urls.includes(url), url)
      }
      assert.deepEqual(await served(composed), [])
    } finally {
      await composed.close()
    }
  })

  test('negative control: composed without the guard, all of it is served', async () => {
    const composed = await compose(withoutGuard)
    try {
      const found = await served(composed)
      const expected = composed.routes.filter(({ url }) => !PROBES.includes(url)).length
      assert.ok(found.length > expected * 5, found.join('\n'))
    } finally {
      await composed.close()
    }
  })

  test('what is allowed passes: the names of this machine, names and origins of the settings, and no Origin', async () => {
    const composed = await compose(withGuard)
    const { port } = composed
    const authorization = `Bearer ${server.token}`
    try {
      const heads: readonly Readonly<Record<string, string>>[] = [
        { host: `127.0.0.1:${port}` },
        { host: `localhost:${port}` },
        { host: `LOCALHOST:${port}` },
        { host: `[::1]:${port}` },
        { host: 'ops.example.com' },
        { host: `127.0.0.1:${port}`, origin: `http://127.0.0.1:${port}` },
        { host: `127.0.0.1:${port}`, origin: 'https://ops.example.com' },
      ]
      for (const headers of heads) {
        const { status } = await answerOf(
          await openTcp(port, { path: '/v1/runs', headers: { ...headers, authorization } }),
        )
        assert.equal(status, 200, JSON.stringify(headers))
      }
    } finally {
      await composed.close()
    }
  })

  test('two Hosts, two Origins or two tokens are one too many', async () => {
    const { port, token } = server
    const authorization = `Bearer ${token}`
    const host = `127.0.0.1:${port}`
    const status = async (headers: Record<string, string | readonly string[]>) =>
      (await answerOf(await openTcp(port, { path: '/v1/runs', headers }))).status
    assert.equal(await status({ host, authorization: [authorization, 'Bearer x'] }), 401)
    assert.equal(await status({ host, authorization, origin: [`http://${host}`, 'https://evil.example'] }), 403)
    const head = ['GET /v1/runs HTTP/1.1', `Host: ${host}`, 'Host: evil.example', `Authorization: ${authorization}`]
    assert.match(await rawAnswer(port, [...head, 'Connection: close', '', ''].join('\r\n')), /^HTTP\/1\.1 4\d\d /)
  })

  test('refusals of the guard are problems, and do not say what is there', async () => {
    const { port } = server
    const known = await answerOf(await openTcp(port, { path: '/v1/runs' }))
    const unknown = await answerOf(await openTcp(port, { path: '/v1/nothing-like-it' }))
    assert.match(known.headers['content-type'] ?? '', /^application\/problem\+json/)
    assert.equal(known.headers['www-authenticate'], 'Bearer realm="mahavishnu"')
    assert.equal(known.json.code, 'MHV_HTTP_TOKEN')
    assert.equal(known.text, unknown.text)
  })
})

describe('the token', () => {
  test('is made once, for this user alone', async () => {
    const file = tokenFile(server.folder)
    assert.equal((await stat(file)).mode & 0o777, 0o600)
    assert.equal((await readFile(file, 'utf8')).trim(), server.token)
    assert.ok(server.token.length >= 40)
    assert.equal((await httpToken(server.folder)).value, server.token)
  })

  test('is refused when others could have read or replaced it', async () => {
    const file = tokenFile(server.folder)
    const refused = (pattern: RegExp) =>
      assert.rejects(httpToken(server.folder), (error: Error & { code: string }) => {
        assert.equal(error.code, 'MHV_INSTANCE_INVALID')
        assert.match(error.message, pattern)
        return true
      })
    for (const mode of [0o640, 0o604, 0o620]) {
      await chmod(file, mode)
      await refused(/can be read by others/)
    }
    await chmod(file, 0o600)
    await writeFile(file, 'short\n')
    await refused(/has no token/)
    await unlink(file)
    await symlink('/etc/hostname', file)
    await refused(/cannot be used/)
    await unlink(file)
    assert.notEqual((await httpToken(server.folder)).value, server.token)
  })
})
