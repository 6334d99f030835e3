import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { devNull } from 'node:os'
import type { Logger } from '../../core/context.ts'
import { mhvError, outOfDescriptors, systemCode } from '../../core/errors.ts'
import { hostName, type KnownHosts, keyType, knownHostsLine, matchesHost, parseKnownHosts } from './known-hosts.ts'
import { readRegular, UnsuitableFile } from './read-regular.ts'
import type { HostKeyPolicy } from './settings.ts'
import { shellQuote } from './shell-quote.ts'

export interface KnownHostsFile extends KnownHosts {
  readonly path: string
}

/** Under which names a host's keys are looked for, the first one being that under which a new key is written. */
export type HostNames = readonly [name: string, ...more: string[]]

export interface HostKeyVerdict {
  readonly kind: 'known' | 'unknown' | 'changed' | 'revoked'
  /** Type of the key that the host presented. */
  readonly type: string
  /** `SHA256:…`, as `ssh-keygen -l` prints it. */
  readonly fingerprint: string
  /** `file:line` of the line that decided it; of a changed key, one of those that it does not fit. */
  readonly place?: string
  /** Of a changed key, every line that names the host with another one. */
  readonly others?: readonly KnownKey[]
}

/** A key that known_hosts has for a host. */
export interface KnownKey {
  readonly type: string
  readonly fingerprint: string
  /** `file:line`. */
  readonly place: string
}

/** How ssh2 calls the ways in which a host can prove a key of each type; RSA without SHA-1. */
export const ALGORITHMS_OF_TYPE: Readonly<Record<string, readonly string[]>> = {
  'ssh-ed25519': ['ssh-ed25519'],
  'ecdsa-sha2-nistp256': ['ecdsa-sha2-nistp256'],
  'ecdsa-sha2-nistp384': ['ecdsa-sha2-nistp384'],
  'ecdsa-sha2-nistp521': ['ecdsa-sha2-nistp521'],
  'ssh-rsa': ['rsa-sha2-512', 'rsa-sha2-256'],
}

/**
 * The host's own name, and for another port than 22 the name without it, where OpenSSH looks next (check_host_key in
 * sshconnect.c). With an alias, only that.
 */
export function namesOf(host: string, port: number, alias?: string): HostNames {
  const name = hostName(host, port, alias)
  return alias !== undefined || port === 22 ? [name] : [name, hostName(host, 22)]
}

/**
 * Reads the files, ours first. A missing file is an empty one, if another could be read or new keys are accepted; one
 * that is there and cannot be read may hold the line that forbids a key, so it is always a refusal. So are one that is no
 * regular file, but for /dev/null, and one of more than 8 MiB.
 *
 * Throws MHV_SSH_KNOWN_HOSTS_UNREADABLE.
 */
export async function readKnownHosts(
  paths: readonly string[],
  policy: HostKeyPolicy,
  log: Logger,
): Promise<readonly KnownHostsFile[]> {
  const files = (await Promise.all(paths.map((path) => readOne(path, log)))).filter((file) => file !== undefined)
  if (files.length === 0 && policy === 'strict') {
    throw mhvError('MHV_SSH_KNOWN_HOSTS_UNREADABLE', `there is no known_hosts file: looked for ${paths.join(', ')}`, {
      details: { files: paths },
    })
  }
  return files
}

/** Bytes of one file: some 80,000 hosts. All of it is parsed before each connection. */
const MAX_FILE_BYTES = 8 * 1024 * 1024

async function readOne(path: string, log: Logger): Promise<KnownHostsFile | undefined> {
  // It is how people write that a host has no file; as a device it would be refused.
  if (path === devNull) return { path, lines: [], malformed: [] }
  try {
    const parsed = parseKnownHosts((await readRegular(path, MAX_FILE_BYTES)).toString('latin1'))
    if (parsed.malformed.length > 0) {
      log.warn('lines of a known_hosts file are not well formed and were skipped', {
        file: path,
        count: parsed.malformed.length,
        first_line: parsed.malformed[0],
      })
    }
    return { path, ...parsed }
  } catch (error) {
    const code = systemCode(error)
    if (code === 'ENOENT') return undefined
    const ownFault = outOfDescriptors(error, path)
    if (ownFault) throw ownFault
    const why = error instanceof UnsuitableFile ? error.message : `cannot be read (${code ?? 'unknown error'})`
    throw mhvError('MHV_SSH_KNOWN_HOSTS_UNREADABLE', `${path} ${why}`, {
      details: { files: [path] },
      cause: error,
    })
  }
}

/**
 * What the files say about a key. Revoked goes before known, and known before changed. A host of which any key is
 * known is not new: a key of another type than the known ones is `changed` too, since the known types are asked for
 * first (`algorithmsFor`) and a host that still had its old key would have shown that one.
 */
export function judgeHostKey(files: readonly KnownHostsFile[], names: HostNames, key: Buffer): HostKeyVerdict {
  const type = keyType(key) ?? 'unknown'
  const about = { type, fingerprint: fingerprintOf(key) }
  const lines = linesAbout(files, names)
  const same = lines.filter((line) => line.key.equals(key))
  const revoked = same.find((line) => line.marker === 'revoked')
  if (revoked) return { kind: 'revoked', ...about, place: revoked.place }
  const known = same.find((line) => line.marker === 'plain')
  if (known) return { kind: 'known', ...about, place: known.place }
  const others = lines.filter((line) => line.marker === 'plain')
  const other = others.find((line) => line.type === type) ?? others[0]
  if (other === undefined) return { kind: 'unknown', ...about }
  const keys = others.map((line) => ({ type: line.type, fingerprint: fingerprintOf(line.key), place: line.place }))
  return { kind: 'changed', ...about, place: other.place, others: keys }
}

function linesAbout(files: readonly KnownHostsFile[], names: HostNames) {
  return files.flatMap((file) =>
    file.lines
      .filter((line) => names.some((name) => matchesHost(line.hosts, name)))
      .map((line) => ({ ...line, place: `${file.path}:${line.line}` })),
  )
}

/** Lines for certificate authorities that name the host: they are not used, and someone may wonder why. */
export function authorityLines(files: readonly KnownHostsFile[], names: HostNames): readonly string[] {
  return linesAbout(files, names)
    .filter((line) => line.marker === 'cert-authority')
    .map((line) => line.place)
}

/**
 * Host key algorithms to ask for, those of the key types known for the host first, as OpenSSH does
 * (order_hostkeyalgs): otherwise a host known by its ed25519 key would show another one and look changed.
 */
export function algorithmsFor(files: readonly KnownHostsFile[], names: HostNames): readonly string[] {
  const known = linesAbout(files, names)
    .filter((line) => line.marker === 'plain')
    .flatMap((line) => ALGORITHMS_OF_TYPE[line.type] ?? [])
  return [...new Set([...known, ...Object.values(ALGORITHMS_OF_TYPE).flat()])]
}

/** `SHA256:` and the unpadded base64 of the digest. */
export function fingerprintOf(key: Uint8Array): string {
  return `SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`
}

/** The refusal that belongs to a verdict; undefined where the key is to be taken. */
export function refusalOf(verdict: HostKeyVerdict, host: string, names?: HostNames) {
  const { kind, type, fingerprint, place, others = [] } = verdict
  const known = others.length === 0 ? {} : { known_keys: others }
  const details = {
    host,
    key_type: type,
    fingerprint,
    ...(place === undefined ? {} : { known_hosts: place }),
    ...known,
  }
  const shown = `${host} presents the ${type} key ${fingerprint}`
  if (kind === 'revoked') {
    return mhvError('MHV_SSH_HOST_KEY_REVOKED', `${shown}, which ${place} revokes`, { details })
  }
  if (kind === 'changed') {
    return mhvError('MHV_SSH_HOST_KEY_CHANGED', `${shown}, but ${place} has another one${listOf(others)}`, {
      details,
      ...(names === undefined ? {} : { remedy: changedRemedy(names, others) }),
    })
  }
  if (kind === 'unknown') {
    return mhvError('MHV_SSH_HOST_KEY_UNKNOWN', `${shown}, which no known_hosts file has`, { details })
  }
  return undefined
}

/** Keys named in a message: a file may have any number of lines about a host. */
const SHOWN_KEYS = 4

function listOf(others: readonly KnownKey[]): string {
  if (others.length === 0) return ''
  const shown = others.slice(0, SHOWN_KEYS).map(({ type, fingerprint, place }) => `${type} ${fingerprint} (${place})`)
  const more = others.length > SHOWN_KEYS ? ` and ${others.length - SHOWN_KEYS} more` : ''
  return `: ${shown.join(', ')}${more}`
}

function changedRemedy([name]: HostNames, others: readonly KnownKey[]): string {
  const files = [...new Set(others.map(({ place }) => place.slice(0, place.lastIndexOf(':'))))]
  const removals = files.map((file) => `\`ssh-keygen -R ${shellQuote(name)} -f ${shellQuote(file)}\``)
  return (
    "Find out from the host's owner why the key changed, and compare the fingerprint with the host's own. " +
    `Only when it is right: ${removals.join(', ')} removes the old key, and ssh.trust_host takes the new one.`
  )
}

/** Writes to one file go one after the other, so that two connections to a new host agree on its key. */
const writing = new Map<string, Promise<unknown>>()

/**
 * Takes the key of a new host into our own file: looks again what the file says by now, and appends one line in one
 * write (0600). Two at once with the same key write it once; with two keys, the second is `changed`. The comment stands
 * behind the key.
 *
 * Throws MHV_SSH_KNOWN_HOSTS_UNREADABLE where the line cannot be written: a key that is not kept is not accepted.
 */
export function recordHostKey(
  path: string,
  names: HostNames,
  key: Buffer,
  log: Logger,
  comment?: string,
): Promise<HostKeyVerdict> {
  const turn = (writing.get(path) ?? Promise.resolve()).then(() => recordNow(path, names, key, log, comment))
  const done: Promise<unknown> = turn
    .catch(() => undefined)
    .then(() => writing.get(path) === done && writing.delete(path))
  writing.set(path, done)
  return turn
}

async function recordNow(
  path: string,
  names: HostNames,
  key: Buffer,
  log: Logger,
  comment: string | undefined,
): Promise<HostKeyVerdict> {
  const current = await readOne(path, log)
  const verdict = judgeHostKey(current ? [current] : [], names, key)
  if (verdict.kind !== 'unknown') return verdict
  try {
    const file = await open(path, 'a+', 0o600)
    try {
      const { size } = await file.stat()
      const last = size === 0 ? null : (await file.read(Buffer.alloc(1), 0, 1, size - 1)).buffer[0]
      const lineBreak = last === null || last === 0x0a ? '' : '\n'
      await file.appendFile(lineBreak + knownHostsLine(names[0], key, comment))
      await file.datasync()
    } finally {
      await file.close()
    }
  } catch (error) {
    throw mhvError('MHV_SSH_KNOWN_HOSTS_UNREADABLE', `${path} cannot be written (${systemCode(error)})`, {
      details: { files: [path] },
      cause: error,
    })
  }
  log.info('a new host key was accepted', { name: names[0], key_type: verdict.type, fingerprint: verdict.fingerprint })
  return { ...verdict, kind: 'known' }
}
