import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseDocument,
  type YAMLError,
} from 'yaml'
import type { ErrorCode } from '../core/error-table.ts'
import type { Place, Problem } from './problems.ts'
import { shownKey } from './problems.ts'
import { readTextFile } from './read-file.ts'
import { emptyMap, type SourceEntry, type SourceMap, type SourceNode } from './source.ts'

/** Largest settings file or inventory that is read, in bytes. */
export const MAX_YAML_BYTES = 1_048_576

/** Deepest nesting of a settings file. */
const MAX_DEPTH = 32
/** Nodes that all aliases of a file together may stand for. */
const MAX_ALIASED_NODES = 10_000

/** Our own words for the parser's complaints: its own quote the file, and a file may have a secret in it. */
const COMPLAINTS: Partial<Record<YAMLError['code'], string>> = {
  BAD_ALIAS: 'an alias or anchor is not well formed or not known',
  BAD_DIRECTIVE: 'a directive is not allowed here',
  BAD_DQ_ESCAPE: 'an escape sequence in double quotes is not valid',
  BAD_INDENT: 'the indentation is wrong',
  BLOCK_AS_IMPLICIT_KEY: 'two keys stand on one line, or a list on the line of its key',
  DUPLICATE_KEY: 'a key stands here twice',
  MISSING_CHAR: 'a character is missing (a quote, a colon, a comma or a space)',
  MULTILINE_IMPLICIT_KEY: 'a key goes over several lines, or a colon is missing',
  MULTIPLE_DOCS: 'a second document begins; only one is read',
  NON_STRING_KEY: 'a key is not plain text',
  RESOURCE_EXHAUSTION: 'the nesting is too deep',
  TAB_AS_INDENT: 'a tab is used to indent; YAML wants spaces',
  TAG_RESOLVE_FAILED: 'a tag (!) is not supported',
  UNEXPECTED_TOKEN: 'something stands here that does not belong',
}

export interface YamlSource {
  /** Undefined where there is no file, or none that can be used. */
  readonly root?: SourceMap
  readonly problems: readonly Problem[]
  readonly missing: boolean
}

export interface YamlCodes {
  readonly unparsable: ErrorCode
  readonly unreadable: ErrorCode
  readonly invalid: ErrorCode
}

export const SETTINGS_CODES: YamlCodes = {
  unparsable: 'MHV_CONFIG_UNPARSABLE',
  unreadable: 'MHV_CONFIG_UNREADABLE',
  invalid: 'MHV_CONFIG_INVALID',
}

/** Reads a YAML file of ours. Everything that is wrong with it comes back as problems; nothing is thrown. */
export async function readYaml(file: string, codes: YamlCodes = SETTINGS_CODES): Promise<YamlSource> {
  const read = await readTextFile(file, MAX_YAML_BYTES)
  if ('text' in read) return parseYaml(file, read.text, codes)
  if (read.refusal === 'missing') return { problems: [], missing: true }
  const code = read.refusal === 'not-utf8' ? codes.unparsable : codes.unreadable
  return { problems: [{ code, message: read.why, place: { file } }], missing: false }
}

/** A YAML text as nodes with their places. `file` is only named. */
export function parseYaml(file: string, text: string, codes: YamlCodes = SETTINGS_CODES): YamlSource {
  const lines = new LineCounter()
  const at = (offset: number): Place => {
    const { line, col } = lines.linePos(offset)
    return { file, line, column: col }
  }
  const failed = (problems: readonly Problem[]): YamlSource => ({ problems, missing: false })
  let document: Document.Parsed
  try {
    document = parseDocument(text, { lineCounter: lines, prettyErrors: false, schema: 'core', merge: false })
  } catch {
    return failed([{ code: codes.unparsable, message: 'is not YAML that can be read', place: { file } }])
  }
  // One mistake makes many complaints: the first of each line says enough.
  const complaints = [...document.errors, ...document.warnings]
  if (complaints.length > 0) {
    const byLine = new Map(complaints.reverse().map((one) => [lines.linePos(one.pos[0]).line, one]))
    return failed(
      [...byLine.values()].reverse().map(({ code, pos }) => ({
        code: codes.unparsable,
        message: `not valid YAML: ${COMPLAINTS[code] ?? 'the syntax is wrong'}`,
        place: at(pos[0]),
      })),
    )
  }
  const walk = createWalk(at, codes)
  const root = document.contents === null ? emptyMap({ file }) : walk.node(document.contents, 0)
  if (walk.problems.length > 0) return failed(walk.problems)
  if (root.kind === 'scalar' && root.value === null) return { root: emptyMap({ file }), problems: [], missing: false }
  if (root.kind === 'map') return { root, problems: [], missing: false }
  return failed([{ code: codes.invalid, message: 'must be a map of keys and values', place: root.place }])
}

interface Walk {
  readonly problems: Problem[]
  node(yaml: unknown, depth: number): SourceNode
}

function createWalk(at: (offset: number) => Place, codes: YamlCodes): Walk {
  const problems: Problem[] = []
  const anchors = new Map<string, unknown>()
  let inAlias = 0
  let aliased = 0

  const complain = (message: string, place: Place): void => {
    problems.push({ code: codes.unparsable, message: `not valid YAML: ${message}`, place })
  }

  function node(yaml: unknown, depth: number): SourceNode {
    const place = at(rangeStart(yaml))
    const nothing: SourceNode = { kind: 'scalar', place, value: null }
    if (inAlias > 0) aliased += 1
    // Once too much is too much: unwinding must not go on expanding.
    if (aliased > MAX_ALIASED_NODES || depth > MAX_DEPTH) {
      if (problems.length === 0)
        complain(depth > MAX_DEPTH ? 'the nesting is too deep' : 'aliases stand for too much', place)
      return nothing
    }
    if (isAlias(yaml)) return alias(yaml.source, place, depth)
    if ((isMap(yaml) || isSeq(yaml) || isScalar(yaml)) && yaml.anchor !== undefined) anchors.set(yaml.anchor, yaml)
    if (isMap(yaml)) return { kind: 'map', place, entries: entriesOf(yaml.items, place, depth) }
    if (isSeq(yaml)) return { kind: 'list', place, items: yaml.items.map((item) => node(item, depth + 1)) }
    const value = isScalar(yaml) ? yaml.value : null
    if (value === null || ['string', 'number', 'boolean'].includes(typeof value)) {
      return { kind: 'scalar', place, value: value as string | number | boolean | null }
    }
    complain('a kind of value that is not supported', place)
    return nothing
  }

  function alias(name: string, place: Place, depth: number): SourceNode {
    if (!anchors.has(name)) {
      complain('an alias has no anchor before it', place)
      return { kind: 'scalar', place, value: null }
    }
    inAlias += 1
    const found = node(anchors.get(name), depth + 1)
    inAlias -= 1
    return found
  }

  function entriesOf(pairs: readonly Pair[], place: Place, depth: number): Map<string, SourceEntry> {
    const entries = new Map<string, SourceEntry>()
    for (const pair of pairs) {
      const key = keyText(pair.key)
      const keyPlace = isScalar(pair.key) ? at(rangeStart(pair.key)) : place
      if (key === undefined || key === '__proto__') complain('a key is not plain text', keyPlace)
      else if (entries.has(key)) complain(`the key ${shownKey(key)} stands here twice`, keyPlace)
      else entries.set(key, { place: keyPlace, node: placed(node(pair.value, depth + 1), pair.value, keyPlace) })
    }
    return entries
  }

  return { problems, node }
}

/** A key without a value has no place of its own: it is where its key is. */
function placed(node: SourceNode, yaml: unknown, keyPlace: Place): SourceNode {
  return yaml === null || yaml === undefined ? { kind: 'scalar', place: keyPlace, value: null } : node
}

function rangeStart(yaml: unknown): number {
  const hasRange = isMap(yaml) || isSeq(yaml) || isScalar(yaml) || isAlias(yaml)
  return hasRange ? (yaml.range?.[0] ?? 0) : 0
}

/** Keys are text, as written: `10` and `1.0` stay what they look like. */
function keyText(key: unknown): string | undefined {
  if (!isScalar(key) || key.value === null || key.value === '') return undefined
  return typeof key.value === 'string' ? key.value : (key.source ?? String(key.value))
}

/**
 * Checks and takes out the `version` of a file's format. Returns the problem, if there is one: a newer format is
 * refused by name, before its unknown keys can be complained about.
 */
export function checkVersion(
  root: SourceMap,
  format: number,
  what: string,
  invalid: ErrorCode,
  required: boolean,
): Problem | undefined {
  const entry = root.entries.get('version')
  const expected = `"version" must be ${format}, the format of ${what} that this program writes`
  if (entry === undefined) {
    if (!required) return undefined
    return { code: invalid, message: `${expected}; it is missing`, place: root.place, key: 'version' }
  }
  const value = entry.node.kind === 'scalar' ? entry.node.value : undefined
  if (value === format) return undefined
  if (typeof value === 'number' && Number.isInteger(value) && value > format) {
    const message = `format ${value} of ${what} is newer than format ${format}, the newest that this version of Mahavishnu knows`
    return { code: 'MHV_CONFIG_NEWER', message, place: entry.node.place, key: 'version' }
  }
  return { code: invalid, message: expected, place: entry.node.place, key: 'version' }
}
