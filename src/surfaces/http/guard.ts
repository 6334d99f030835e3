import { hash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Principal } from '../../core/context.ts'
import { type MhvError, mhvError } from '../../core/errors.ts'

/** A name and what proves it. */
export interface HttpToken {
  /** The principal is `token:NAME`. */
  readonly name: string
  readonly value: string
}

/** What a request is measured by. */
export interface GuardRules {
  readonly token: HttpToken
  /** Values that the header Host may have, in lower case: `127.0.0.1:7420`. */
  readonly hosts: ReadonlySet<string>
  /** Values that the header Origin may have, where there is one. */
  readonly origins: ReadonlySet<string>
}

export type GuardVerdict = { readonly principal: Principal } | { readonly refusal: MhvError }

/**
 * Looks at the head of a request. A page that made its name resolve to this machine has a wrong Host, one that only
 * sends requests here has a wrong Origin, and nobody of them has the token. An absent Origin passes: only browsers send
 * it.
 */
export function judge(request: IncomingMessage, rules: GuardRules): GuardVerdict {
  const hosts = valuesOf(request, 'host')
  const [host = ''] = hosts
  if (hosts.length !== 1 || !rules.hosts.has(host.toLowerCase())) {
    return { refusal: mhvError('MHV_HTTP_HOST', `this server is not ${quoted(host)}`) }
  }
  const origins = valuesOf(request, 'origin')
  if (origins.some((origin) => !rules.origins.has(origin.toLowerCase()))) {
    return { refusal: mhvError('MHV_HTTP_ORIGIN', `pages of ${quoted(origins.join(', '))} may not ask here`) }
  }
  const tokens = valuesOf(request, 'authorization')
  const [sent = ''] = tokens
  const bearer = /^Bearer +([^\s]+)$/i.exec(sent)?.[1]
  if (tokens.length !== 1 || bearer === undefined) {
    return { refusal: mhvError('MHV_HTTP_TOKEN', 'there is no bearer token') }
  }
  if (!isSame(bearer, rules.token.value)) {
    return { refusal: mhvError('MHV_HTTP_TOKEN', 'the bearer token is not the one of this server') }
  }
  return { principal: { id: `token:${rules.token.name}`, kind: 'service' } }
}

/** All values of a header as they came: Node keeps only the first Host and hides the others. */
function valuesOf({ rawHeaders }: IncomingMessage, name: string): readonly string[] {
  const values: string[] = []
  // Every request comes through here three times: lengths are compared before a header is written in lower case.
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const header = rawHeaders[at] ?? ''
    if (header.length === name.length && header.toLowerCase() === name) values.push(rawHeaders[at + 1] ?? '')
  }
  return values
}

/** In constant time, whatever the lengths are. */
function isSame(one: string, other: string): boolean {
  return timingSafeEqual(digest(one), digest(other))
}

function digest(text: string): Buffer {
  return hash('sha256', text, 'buffer')
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, 100))
}

/** Where a server listens. */
export interface ListenAddress {
  readonly host: string
  readonly port: number
}

const LOOPBACK_NAMES = ['localhost', '127.0.0.1', '[::1]'] as const

/** Whether only this machine can reach an address. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host)
}

/** Names and origins of a server: its own address, the names of this machine for itself, and what the settings add. */
export function rulesFor(
  { host, port }: ListenAddress,
  token: HttpToken,
  settings: { readonly allowed_hosts: readonly string[]; readonly allowed_origins: readonly string[] },
): GuardRules {
  const own = [host.includes(':') ? `[${host}]` : host, ...LOOPBACK_NAMES]
  // Port 80 is not written out by clients.
  const hosts = own.flatMap((name) => (port === 80 ? [name, `${name}:80`] : [`${name}:${port}`]))
  const lower = (texts: readonly string[]) => texts.map((text) => text.toLowerCase())
  return {
    token,
    hosts: new Set(lower([...hosts, ...settings.allowed_hosts])),
    origins: new Set(lower([...hosts.map((name) => `http://${name}`), ...settings.allowed_origins])),
  }
}
