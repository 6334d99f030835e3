/** `mahavishnu` as a command of shells: a folder for PATH with a script that starts the sources. */
import { spawn } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { inRoot } from '../../scripts/lib/paths.ts'
import { quoteWord } from '../../src/surfaces/cli/quote.ts'

export interface CliCommand {
  /** Goes in front of PATH. */
  readonly path: string
  remove(): Promise<void>
}

export async function cliCommand(program = inRoot('src/bin.ts')): Promise<CliCommand> {
  const path = await mkdtemp(join(tmpdir(), 'mhv-command-'))
  const file = join(path, 'mahavishnu')
  await writeFile(file, `#!/bin/sh\nexec ${quoteWord(process.execPath)} ${quoteWord(program)} "$@"\n`)
  await chmod(file, 0o755)
  return { path, remove: () => rm(path, { recursive: true, force: true }) }
}

/** False, or why the tests of a shell are skipped. */
export function shellMissing(shell: string): string | false {
  const found = (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, shell), constants.X_OK)
      return true
    } catch {
      return false
    }
  })
  return found ? false : `${shell} is not installed`
}

export interface ShellRan {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface ShellOptions {
  readonly command: CliCommand
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Called with the process when it has started; for ending it. */
  readonly started?: (pid: number, stderr: () => string) => void
}

/** Runs a script in a shell without its user's own start files. Its process group is its own. */
export function inShell(shell: string, script: string, options: ShellOptions): Promise<ShellRan> {
  const plain = { bash: ['--norc', '--noprofile'], zsh: ['-f'], fish: ['--no-config'] }[shell] ?? []
  const env = { ...process.env, ...options.env, PATH: `${options.command.path}${delimiter}${process.env.PATH}` }
  const child = spawn(shell, [...plain, '-c', script], {
    env,
    cwd: options.cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  })
  const texts = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    texts.stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    texts.stderr += text
  })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('spawn', () => options.started?.(child.pid as number, () => texts.stderr))
    child.on('close', (code) => resolve({ code, ...texts }))
  })
}
