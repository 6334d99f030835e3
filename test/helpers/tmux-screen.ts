import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

export interface TmuxScreen {
  /** Rows as text with colour sequences, as `capture-pane -e` writes them. */
  readonly styled: readonly string[]
  readonly cursor: { readonly row: number; readonly col: number; readonly visible: boolean }
  readonly alternate: boolean
}

/**
 * What tmux shows after these bytes. The program in it writes them, and then asks for the terminal's status (DSR 5):
 * tmux answers when it has read all that was before.
 */
export async function tmuxScreen(bytes: Uint8Array, size: { rows: number; cols: number }): Promise<TmuxScreen> {
  const folder = await mkdtemp(join(tmpdir(), 'mahavishnu-tmux-'))
  const socket = join(folder, 'socket')
  const tmux = async (...args: string[]) =>
    (
      await run('tmux', ['-u', '-S', socket, '-f', join(folder, 'conf'), ...args], {
        timeout: 15_000,
        env: ENVIRONMENT,
      })
    ).stdout
  try {
    await writeFile(join(folder, 'bytes'), bytes)
    await writeFile(join(folder, 'conf'), 'set -g status off\nset -g history-limit 0\nset -g escape-time 0\n')
    await writeFile(join(folder, 'show'), SHOW)
    const dimensions = ['-x', String(size.cols), '-y', String(size.rows)]
    await tmux('new-session', '-d', ...dimensions, 'sh', join(folder, 'show'), folder, socket)
    await tmux('wait-for', 'shown')
    const styled = (await tmux('capture-pane', '-p', '-e', '-N')).split('\n').slice(0, size.rows)
    const facts = await tmux('display-message', '-p', '#{cursor_y} #{cursor_x} #{cursor_flag} #{alternate_on}')
    const [row, col, visible, alternate] = facts.trim().split(' ').map(Number)
    return { styled, cursor: { row: row ?? -1, col: col ?? -1, visible: visible === 1 }, alternate: alternate === 1 }
  } finally {
    await tmux('kill-server').catch(() => undefined)
    await rm(folder, { recursive: true, force: true })
  }
}

const ENVIRONMENT = { PATH: process.env['PATH'] ?? '', LANG: 'C.UTF-8', TERM: 'xterm-256color', HOME: '/tmp' }

// Answers to what is asked within the bytes end in other letters than the status report's "n".
const SHOW = `stty raw -echo
cat "$1/bytes"
printf '\\033[5n'
while [ "$(dd bs=1 count=1 2>/dev/null)" != n ]; do :; done
tmux -S "$2" wait-for -S shown
exec sleep 60
`
