/** Program and arguments as a line for the shell of a host, which reads exactly these words back. */
export function remoteCommand(words: readonly string[]): string {
  return words.map(shellWord).join(' ')
}

/** A word as a POSIX shell reads it back; one that is plain stays as it is, since people see the line. */
function shellWord(word: string): string {
  return /^[A-Za-z0-9_./:=@%+,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
