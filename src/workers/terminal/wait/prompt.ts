import type { ScreenView } from '../screen/screen.ts'
import type { ShellMark } from '../screen/stream-scanner.ts'

/** How long a screen that looks like a prompt has to stay as it is, in milliseconds: programs pause, too. */
export const PROMPT_QUIET_MS = 250

// `$ `, `# `, `% `, `> `, `❯ `, `>>> `, `(gdb) `, `Password: `: an end of a line behind which somebody is to type.
const PROMPT_END = /(?:[$#%>❯➜»›λ:?]|\))\s?$/u

/** Whether the cursor stands where a program asks for input, as far as one can see. */
export function looksLikePrompt(view: ScreenView): boolean {
  const cursor = view.cursor()
  const line = view.lines()[cursor.row] ?? ''
  if (!cursor.visible || line === '') return false
  // What is behind the cursor is somebody's text, or the right-hand prompt of zsh.
  const before = line.slice(0, cursor.col)
  return cursor.col > 0 && PROMPT_END.test(before.padEnd(Math.min(cursor.col, before.length + 1)))
}

/** Whether the shell waits for a command, by its last mark. */
export function isAtPrompt(mark: ShellMark): boolean {
  return mark.kind === 'A' || mark.kind === 'B'
}
