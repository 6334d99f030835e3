/** The fenced blocks of a page, and what their info strings ask for. */

/** One fenced block: ```` ```lang word key=value key="some words" ````. */
export interface DocBlock {
  /** Of its opening fence, from 1. */
  readonly line: number
  /** First word of the info string; empty where there is none. */
  readonly lang: string
  /** The other words: a bare one has the value `true`. */
  readonly info: Readonly<Record<string, string>>
  readonly text: string
}

/** What a page has: its blocks, and what cannot be read as one. */
export interface DocPage {
  readonly blocks: readonly DocBlock[]
  readonly problems: readonly string[]
}

/** Reads a page. Blocks made by indenting have no info string, so they are problems. */
export function parsePage(page: string): DocPage {
  const blocks: DocBlock[] = []
  const problems: string[] = []
  const lines = page.split('\n')
  for (let at = 0; at < lines.length; at++) {
    const line = lines[at] ?? ''
    const fence = /^( *)```(\S*)\s*(.*)$/.exec(line)
    if (fence === null) {
      const inBlock = /^ {4}/.test(line) && lines[at - 1] === '' && !insideList(lines, at)
      if (inBlock) problems.push(`line ${at + 1}: an indented block; give it a fence and say what it is`)
      continue
    }
    const [, indent = '', lang = '', words = ''] = fence
    const end = lines.findIndex((other, index) => index > at && other === `${indent}\`\`\``)
    if (end < 0) return { blocks, problems: [...problems, `line ${at + 1}: the block has no end`] }
    const text = lines.slice(at + 1, end).map((inner) => inner.slice(indent.length))
    blocks.push({ line: at + 1, lang, info: infoOf(words), text: `${text.join('\n')}\n` })
    at = end
  }
  return { blocks, problems }
}

function infoOf(words: string): Record<string, string> {
  const found = [...words.matchAll(/([\w-]+)(?:=(?:"([^"]*)"|(\S+)))?/g)]
  return Object.fromEntries(found.map(([, name = '', quoted, bare]) => [name, quoted ?? bare ?? 'true']))
}

/** A paragraph of a list item is indented too. */
function insideList(lines: readonly string[], at: number): boolean {
  const before = lines.slice(0, at).filter((line) => line !== '')
  return /^\s*([-*]|\d+\.) |^ {2,}/.test(before.at(-1) ?? '')
}

/** Whether `said` is what a page shows. In `shown`, `…` stands for anything in its line, alone in a line for any lines. */
export function matchesShown(shown: string, said: string): boolean {
  const literal = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&').replace(/\s+/g, '\\s+')
  const lines = shown
    .trim()
    .split('\n')
    .map((line) => (line.trim() === '…' ? '(?:.*\n)*?' : `${line.trim().split('…').map(literal).join('.*')}\\s*\n`))
  return new RegExp(`^\\s*${lines.join('\\s*')}\\s*$`).test(`${said.trim()}\n`)
}
