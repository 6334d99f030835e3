import { createHmac } from 'node:crypto'

/**
 * The format of OpenSSH's known_hosts files (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"), as functions over text. What
 * OpenSSH's hostfile.c takes is taken, what it skips is skipped; nothing here reads a file.
 */

/** `plain` vouches for a key, `revoked` forbids it, `cert-authority` is about certificates, which are not used here. */
export type LineMarker = 'plain' | 'revoked' | 'cert-authority'

export interface KnownHostsLine {
  /** Counted from 1. */
  readonly line: number
  readonly marker: LineMarker
  /** The first field as it stands: patterns joined by commas, or `|1|salt|hash`. */
  readonly hosts: string
  /** Type of the key, as it stands in the key itself: `ssh-ed25519`. */
  readonly type: string
  /** The key in the form in which a server presents it. */
  readonly key: Buffer
}

export interface KnownHosts {
  readonly lines: readonly KnownHostsLine[]
  /** Numbers of the lines that are neither empty, comments, nor well formed. */
  readonly malformed: readonly number[]
}

const MARKERS: Readonly<Record<string, LineMarker>> = { '@revoked': 'revoked', '@cert-authority': 'cert-authority' }

/** Reads a whole file. Bytes beyond ASCII only occur in comments, so any decoding does. */
export function parseKnownHosts(text: string): KnownHosts {
  const lines: KnownHostsLine[] = []
  const malformed: number[] = []
  text.split('\n').forEach((raw, index) => {
    const trimmed = raw.replace(/^[ \t]+|[ \t\r]+$/g, '')
    if (trimmed === '' || trimmed.startsWith('#')) return
    const parsed = parseLine(trimmed, index + 1)
    if (parsed === undefined) malformed.push(index + 1)
    else lines.push(parsed)
  })
  return { lines, malformed }
}

function parseLine(text: string, line: number): KnownHostsLine | undefined {
  const fields = text.split(/[ \t]+/)
  let marker: LineMarker = 'plain'
  if (text.startsWith('@')) {
    const named = MARKERS[fields.shift() ?? '']
    if (named === undefined) return undefined
    marker = named
  }
  const [hosts, type, encoded] = fields
  if (hosts === undefined || type === undefined || encoded === undefined) return undefined
  const key = Buffer.from(encoded, 'base64')
  // Node's decoder overlooks what is not base64; a key that does not come out as it went in is none.
  if (key.toString('base64') !== encoded || keyType(key) !== type) return undefined
  return { line, marker, hosts, type, key }
}

/** The type that a public key in SSH's wire form names in its first field; undefined where it has none. */
export function keyType(key: Uint8Array): string | undefined {
  const bytes = Buffer.from(key.buffer, key.byteOffset, key.byteLength)
  if (bytes.length < 5) return undefined
  const length = bytes.readUInt32BE(0)
  if (length === 0 || length > bytes.length - 4) return undefined
  const type = bytes.toString('latin1', 4, 4 + length)
  return /^[\x21-\x7e]+$/.test(type) ? type : undefined
}

/** The name under which a host stands in the file: `host`, `[host]:port` beyond port 22, or its alias as it is. */
export function hostName(host: string, port: number, alias?: string): string {
  if (alias !== undefined) return alias.toLowerCase()
  return port === 22 ? host.toLowerCase() : `[${host.toLowerCase()}]:${port}`
}

/** Whether the first field of a line is about this name (lower case, as `hostName` gives it). */
export function matchesHost(hosts: string, name: string): boolean {
  if (hosts.startsWith('|')) return matchesHash(hosts, name)
  let matched = false
  for (const pattern of hosts.toLowerCase().split(',')) {
    const negated = pattern.startsWith('!')
    if (!matchesPattern(negated ? pattern.slice(1) : pattern, name)) continue
    // A negated pattern that matches settles it, wherever it stands (match_pattern_list in OpenSSH's match.c).
    if (negated) return false
    matched = true
  }
  return matched
}

/** `|1|base64 of 20 bytes of salt|base64 of HMAC-SHA1(salt, name)`: host_hash in OpenSSH's hostfile.c. */
function matchesHash(field: string, name: string): boolean {
  const [, magic, salt, hash, ...rest] = field.split('|')
  if (magic !== '1' || salt === undefined || hash === undefined || rest.length > 0) return false
  const saltBytes = Buffer.from(salt, 'base64')
  if (saltBytes.length !== 20) return false
  return createHmac('sha1', saltBytes).update(name).digest('base64') === hash
}

/** `*` is any text, `?` any one character. Linear in both, whatever the pattern. */
export function matchesPattern(pattern: string, name: string): boolean {
  let p = 0
  let n = 0
  let star = -1
  let resume = 0
  while (n < name.length) {
    const symbol = pattern[p]
    if (symbol === '*') {
      star = p++
      resume = n
    } else if (symbol === '?' || symbol === name[n]) {
      p++
      n++
    } else if (star >= 0) {
      p = star + 1
      n = ++resume
    } else {
      return false
    }
  }
  while (pattern[p] === '*') p++
  return p === pattern.length
}

/** A line of our own making: one plain name, its key, and a comment, which is kept to plain ASCII. */
export function knownHostsLine(name: string, key: Uint8Array, comment = ''): string {
  const plain = comment.replace(/[^\x20-\x7e]+/g, '?').trim()
  return `${name} ${keyType(key)} ${Buffer.from(key).toString('base64')}${plain === '' ? '' : ` ${plain}`}\n`
}
