import { homedir, hostname, userInfo } from 'node:os'
import { matchesPattern } from '../known-hosts.ts'
import { HOST, USER } from '../names.ts'
import type { ConfigLine } from './parse.ts'
import type { ConfigFile } from './read.ts'

/** What ssh_config says of one host, as `ssh -G` would show it, each value with `file:line` of where it stands. */
export interface HostConfig {
  readonly hostName?: string
  readonly user?: string
  readonly port?: number
  /** In their order; paths with ~ as they stand. Undefined where no line names any. */
  readonly identityFiles?: readonly string[]
  readonly identitiesOnly?: boolean
  /** Undefined where nothing is said; empty for `none`. */
  readonly proxyJump?: readonly string[]
  readonly proxyCommand?: string
  readonly knownHosts?: readonly string[]
  readonly hostKeyAlias?: string
  /** Where each of these stands: `file:line`. */
  readonly places: Readonly<Partial<Record<Keyword, string>>>
  /** Lines that are about this host and cannot be used. */
  readonly problems: readonly HostProblem[]
}

export interface HostProblem {
  /** Place and why. */
  readonly text: string
  /** What the line would have said; undefined where a whole file is in question. */
  readonly keyword?: Keyword
}

/** The keywords that say something here, in lower case. */
export const KEYWORDS = [
  'hostname',
  'user',
  'port',
  'identityfile',
  'identitiesonly',
  'proxyjump',
  'proxycommand',
  'userknownhostsfile',
  'hostkeyalias',
] as const
export type Keyword = (typeof KEYWORDS)[number]

interface Found {
  readonly words: readonly string[]
  readonly place: string
}

/** Every line about the host, the first of each keyword counting; of `identityfile`, all of them. */
interface Collected {
  readonly found: Map<Keyword, Found[]>
  readonly problems: HostProblem[]
}

/** What the files say of the host by the name that was asked for. Patterns see only that name, as in OpenSSH. */
export function resolveHost(files: readonly ConfigFile[], name: string): HostConfig {
  const collected: Collected = { found: new Map(), problems: [] }
  for (const file of files) collect(file, name, true, collected)
  return toHostConfig(collected, name)
}

function collect(file: ConfigFile, name: string, outer: boolean, into: Collected): void {
  if (file.problem !== undefined) {
    // A file that is only included for other hosts is none of this one's business.
    if (outer) into.problems.push({ text: `${file.path} ${file.problem}` })
    return
  }
  let active = outer
  for (const line of file.lines) {
    if (line.keyword === 'host') active = outer && hostMatches(line.words, name)
    else if (line.keyword === 'match') active = outer && matchesAll(line)
    else if (line.included !== undefined) for (const included of line.included) collect(included, name, active, into)
    else if (active && isUsed(line.keyword)) collectLine(line, line.keyword, `${file.path}:${line.line}`, into)
  }
}

/** Whether a keyword, in lower case, says something here. */
export function isUsed(keyword: string): keyword is Keyword {
  return (KEYWORDS as readonly string[]).includes(keyword)
}

/** Any pattern, and none of the negated ones: match_pattern in OpenSSH's match.c. */
function hostMatches(patterns: readonly string[], name: string): boolean {
  let matched = false
  for (const pattern of patterns) {
    const negated = pattern.startsWith('!')
    if (!matchesPattern(negated ? pattern.slice(1) : pattern, name)) continue
    if (negated) return false
    matched = true
  }
  return matched
}

/** Of Match, only what matches always. Other conditions are not looked at, and what stands under them does not count. */
export function matchesAll({ words }: Pick<ConfigLine, 'words'>): boolean {
  return words.length === 1 && words[0]?.toLowerCase() === 'all'
}

function collectLine(line: ConfigLine, keyword: Keyword, place: string, { found, problems }: Collected): void {
  const known = found.get(keyword) ?? []
  if (known.length > 0 && keyword !== 'identityfile') return
  // Whichever of the two comes first settles how the host is reached.
  if (keyword === 'proxyjump' && found.has('proxycommand')) return
  if (keyword === 'proxycommand' && found.has('proxyjump')) return
  const many = keyword === 'userknownhostsfile' || keyword === 'proxycommand'
  const problem = line.problem ?? (line.words.length > 1 && !many ? 'has more than one value' : undefined)
  if (problem !== undefined) problems.push({ keyword, text: `${place}: ${line.shown} ${problem}` })
  else found.set(keyword, [...known, { words: line.words, place }])
}

function toHostConfig({ found, problems }: Collected, name: string): HostConfig {
  const first = (keyword: Keyword) => found.get(keyword)?.[0]
  const wrong = (keyword: Keyword, why: string) => {
    problems.push({ keyword, text: `${first(keyword)?.place}: ${why}` })
    return undefined
  }
  const word = (keyword: Keyword) => first(keyword)?.words[0]
  const tokens: Record<string, string> = { '%': '%', h: name }
  const expand = (keyword: Keyword, text: string, known: Readonly<Record<string, string>>) =>
    expandTokens(text, known, (why) => wrong(keyword, why))
  const valid = (keyword: Keyword, text: string | undefined, pattern: RegExp) =>
    text === undefined || (pattern.test(text) && text.length <= 255)
      ? text
      : wrong(keyword, 'is no name that can be used')

  const hostName = valid(
    'hostname',
    expandWord(word('hostname'), (text) => expand('hostname', text, tokens)),
    HOST,
  )
  const user = valid('user', word('user'), USER)
  const port = portOf(word('port'), (why) => wrong('port', why))
  const hop = { ...tokens, h: hostName ?? name, n: name, p: String(port ?? 22), r: user ?? '' }
  const files = { ...hop, ...localTokens() }
  const identityFiles = found
    .get('identityfile')
    ?.flatMap(({ words }) => (isNone(words[0]) ? [] : (expand('identityfile', words[0] ?? '', files) ?? [])))
  const jump = expandWord(word('proxyjump'), (text) => expand('proxyjump', text, hop))
  const command = first('proxycommand')?.words
  const knownHosts = first('userknownhostsfile')?.words
  return {
    hostName,
    user,
    port,
    // One that is named twice is tried once (add_identity_file in readconf.c).
    identityFiles: identityFiles === undefined ? undefined : [...new Set(identityFiles)],
    identitiesOnly: yesNo(word('identitiesonly'), (why) => wrong('identitiesonly', why)),
    proxyJump: jump === undefined ? undefined : isNone(jump) ? [] : jump.split(','),
    proxyCommand: command === undefined || isNone(command[0]) ? undefined : command.join(' '),
    knownHosts: isNone(knownHosts?.[0])
      ? []
      : knownHosts?.flatMap((path) => expand('userknownhostsfile', path, files) ?? []),
    hostKeyAlias: valid('hostkeyalias', word('hostkeyalias'), HOST),
    places: Object.fromEntries([...found].map(([keyword, lines]) => [keyword, lines[0]?.place])),
    problems,
  }
}

function isNone(word: string | undefined): boolean {
  return word?.toLowerCase() === 'none'
}

function portOf(word: string | undefined, wrong: (why: string) => undefined): number | undefined {
  if (word === undefined) return undefined
  const port = /^[0-9]{1,5}$/.test(word) ? Number(word) : 0
  return port >= 1 && port <= 65_535 ? port : wrong('is no port number')
}

function yesNo(word: string | undefined, wrong: (why: string) => undefined): boolean | undefined {
  if (word === undefined) return undefined
  const known = { yes: true, true: true, no: false, false: false }[word.toLowerCase()]
  return known ?? wrong('is neither yes nor no')
}

function expandWord<T>(word: string | undefined, expand: (text: string) => T): T | undefined {
  return word === undefined ? undefined : expand(word)
}

/** The tokens of ssh_config(5); one that is not known, and a variable of the environment, is a problem of the line. */
function expandTokens(
  text: string,
  tokens: Readonly<Record<string, string>>,
  wrong: (why: string) => undefined,
): string | undefined {
  if (text.includes('${')) return wrong('variables of the environment are not expanded')
  let unknown: string | undefined
  const expanded = text.replace(/%(.?)/gsu, (token, letter: string) => {
    if (Object.hasOwn(tokens, letter)) return tokens[letter] as string
    unknown ??= token
    return ''
  })
  return unknown === undefined ? expanded : wrong(`the token ${unknown} is not expanded`)
}

function localTokens(): Record<string, string> {
  const host = hostname()
  const { uid, username } = userInfo()
  return { d: homedir(), u: username, i: String(uid), l: host, L: host.split('.')[0] ?? host }
}
