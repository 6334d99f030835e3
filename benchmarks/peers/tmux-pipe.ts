/** The peer of sessions with a screen: tmux, which emulates what a program writes and pipes it into a file. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { pause } from '../harness/process.ts'

const LATEST_MS = 120_000

function tmux(folder: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync('tmux', ['-S', join(folder, 'tmux'), '-f', '/dev/null', ...args], {
    encoding: 'utf8',
  })
  if (status !== 0) throw new Error(`tmux ${args[0]}: ${stderr}`)
  return stdout
}

export function tmuxVersion(): string {
  return (
    spawnSync('tmux', ['-V'], { encoding: 'utf8' })
      .stdout?.trim()
      .replace(/^tmux /, '') ?? ''
  )
}

/** Seconds until all output of `cat FILE` is in the file behind `pipe-pane`. */
export async function tmuxFlood(folder: string, { file, bytes }: { file: string; bytes: number }): Promise<number> {
  const piped = join(folder, 'piped')
  const go = join(folder, 'go')
  tmux(
    folder,
    'new-session',
    '-d',
    '-x',
    '80',
    '-y',
    '24',
    '-s',
    'flood',
    `until [ -e '${go}' ]; do sleep 0.001; done; date +%s%N > '${go}.began'; cat '${file}'; sleep 60`,
  )
  try {
    tmux(folder, 'pipe-pane', '-t', 'flood', '-O', `cat > '${piped}'`)
    spawnSync('touch', [go])
    const until = performance.now() + LATEST_MS
    while (!existsSync(piped) || statSync(piped).size < bytes) {
      if (performance.now() > until) throw new Error(`${existsSync(piped) ? statSync(piped).size : 0} bytes were piped`)
      await pause(2)
    }
    const ended = Date.now() / 1000
    return ended - Number(readFileSync(`${go}.began`, 'utf8')) / 1e9
  } finally {
    tmux(folder, 'kill-server')
    for (const path of [piped, go, `${go}.began`]) spawnSync('rm', ['-f', path])
  }
}
