import type { StartReport } from './start-report.ts'

/** What is said on standard error before a command under sudo begins. */
export type SudoWord =
  /** sudo asks for the password. */
  | { readonly kind: 'prompt' }
  /** sudo begins, as this process. */
  | { readonly kind: 'sudo'; readonly pid: number }
  /** The reader of a long script waits for it. */
  | { readonly kind: 'ready' }
  | { readonly kind: 'nosudo' }
  | StartReport

/** Bytes of standard error in which it is looked for; as in `start-report.ts`. */
const SEARCH_BYTES = 1024 * 1024
const NOTHING = Buffer.alloc(0)

export interface SudoScanner {
  /** Takes a piece of standard error and returns what belongs to the command. */
  push(bytes: Buffer): Buffer
  /** What is held back when the stream has ended. */
  end(): Buffer
  /** What sudo and the shells have said besides, while the command has not begun. */
  said(): string
}

interface Found {
  readonly from: number
  readonly to: number
  readonly word: SudoWord
}

/**
 * Cuts the words out of the stream and reports each. What is said before the command begins (sudo's lecture, its
 * warnings) is not the command's: it is held back, and only passed on when the command does not begin. Two random
 * texts, known to nobody before: nothing else can be taken for a word.
 */
export function createSudoScanner(
  marker: string,
  prompt: string | undefined,
  onWord: (word: SudoWord) => void,
): SudoScanner {
  const line = Buffer.from(`${marker} `)
  const asked = prompt === undefined ? undefined : Buffer.from(prompt)
  let held: Buffer = NOTHING
  let searching = true

  function next(text: Buffer): Found | undefined {
    const at = asked === undefined ? -1 : text.indexOf(asked)
    const word = nextLine(text)
    if (at >= 0 && asked !== undefined && (word === undefined || at < word.from)) {
      return { from: at, to: at + asked.length, word: { kind: 'prompt' } }
    }
    return word
  }

  function nextLine(text: Buffer): Found | undefined {
    for (let from = text.indexOf(line); from >= 0; from = text.indexOf(line, from + 1)) {
      const end = text.indexOf(0x0a, from)
      if (end < 0) return undefined
      const word = parseWord(text.toString('latin1', from + line.length, end))
      if (word !== undefined) return { from, to: end + 1, word }
    }
    return undefined
  }

  return {
    push(bytes) {
      if (!searching) return bytes
      let text = held.length === 0 ? bytes : Buffer.concat([held, bytes])
      held = NOTHING
      for (let found = next(text); found !== undefined; found = next(text)) {
        const { from, to, word } = found
        text = Buffer.concat([text.subarray(0, from), text.subarray(to)])
        if (word.kind === 'started') searching = false
        onWord(word)
        if (!searching) return text.subarray(from)
      }
      if (text.length > SEARCH_BYTES) {
        searching = false
        return text
      }
      held = text
      return NOTHING
    },
    end() {
      const rest = held
      held = NOTHING
      searching = false
      return rest
    },
    said: () => held.toString('utf8'),
  }
}

function parseWord(text: string): SudoWord | undefined {
  if (text === 'cwd' || text === 'env' || text === 'ready' || text === 'nosudo') return { kind: text }
  const [, word, digits] = /^(sudo )?([1-9][0-9]{0,9})$/.exec(text) ?? []
  if (digits === undefined || digits === '1') return undefined
  return { kind: word === undefined ? 'started' : 'sudo', pid: Number(digits) }
}
