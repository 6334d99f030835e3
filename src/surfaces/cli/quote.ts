/** Words that a POSIX shell takes for something else when a command begins with them. */
const RESERVED = new Set('case do done elif else esac fi for function if in select then time until while'.split(' '))

/** One word, quoted so that a POSIX shell takes it for exactly this argument. */
export function quoteWord(word: string): string {
  if (/^[A-Za-z0-9_/.:,@%+-]+$/.test(word) && !RESERVED.has(word)) return word
  return `'${word.replaceAll("'", "'\\''")}'`
}

/** The words after `--` as a shell command: one is a command as it stands, several are a program and its arguments. */
export function commandOf(words: readonly string[]): string {
  return words.length === 1 ? (words[0] as string) : words.map(quoteWord).join(' ')
}
