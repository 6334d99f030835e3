/**
 * The lines of an ssh_config file, as OpenSSH's readconf.c reads them: a keyword, white space or one `=`, and words in
 * which quotes and backslashes count as in misc.c's `argv_split`. Functions over text; nothing here reads a file.
 */

export interface ConfigLine {
  /** Counted from 1. */
  readonly line: number
  /** In lower case. */
  readonly keyword: string
  /** As it stands. */
  readonly shown: string
  /** The words behind the keyword, without quotes and comment; empty where `problem` says why. */
  readonly words: readonly string[]
  /** What is wrong with the line. */
  readonly problem?: string
}

/** Longest line that is read: a longer one is nobody's work, and is reported. */
const MAX_LINE = 16_384

/** The lines that are neither empty nor comments, in their order. */
export function parseSshConfig(text: string): readonly ConfigLine[] {
  return text.split('\n').flatMap((raw, index) => parseLine(raw, index + 1) ?? [])
}

function parseLine(raw: string, line: number): ConfigLine | undefined {
  const text = raw.replace(/^[ \t\r]+/, '').replace(/[ \t\r\f]+$/, '')
  if (text === '' || text.startsWith('#')) return undefined
  const end = keywordEnd(text)
  const shown = text.slice(0, end).replaceAll('"', '')
  const about = { line, keyword: shown.toLowerCase(), shown: shown.slice(0, 64) }
  if (text.length > MAX_LINE) return { ...about, words: [], problem: `is longer than ${MAX_LINE} characters` }
  const rest = text.slice(end).replace(/^[ \t\r]*=?[ \t\r]*/, '')
  const words = splitWords(rest)
  if (words === undefined) return { ...about, words: [], problem: 'has a quote that is not closed' }
  if (words.length === 0) return { ...about, words, problem: 'has no value' }
  return { ...about, words }
}

/** A keyword ends at white space or `=`; it may stand in quotes. */
function keywordEnd(text: string): number {
  const found = text.startsWith('"') ? text.indexOf('"', 1) + 1 || text.length : text.search(/[ \t\r="]/)
  return found < 0 ? text.length : found
}

/** Words apart by blanks; undefined where a quote stays open. A `#` at the beginning of a word ends the line. */
export function splitWords(text: string): string[] | undefined {
  const words: string[] = []
  let at = 0
  while (at < text.length) {
    if (text[at] === ' ' || text[at] === '\t') {
      at += 1
      continue
    }
    if (text[at] === '#') break
    const word = readWord(text, at)
    if (word === undefined) return undefined
    words.push(word.text)
    at = word.end
  }
  return words
}

function readWord(text: string, from: number): { readonly text: string; readonly end: number } | undefined {
  let quote = ''
  let word = ''
  let at = from
  for (; at < text.length; at++) {
    const symbol = text[at] as string
    const next = text[at + 1] ?? ''
    if (symbol === '\\' && (next === "'" || next === '"' || next === '\\' || (quote === '' && next === ' '))) {
      word += next
      at += 1
    } else if (quote === '' && (symbol === ' ' || symbol === '\t')) {
      break
    } else if (quote === '' && (symbol === '"' || symbol === "'")) {
      quote = symbol
    } else if (symbol === quote) {
      quote = ''
    } else {
      word += symbol
    }
  }
  return quote === '' ? { text: word, end: at } : undefined
}
